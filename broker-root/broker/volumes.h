// Operations on volumes: the decisions here, the disk in a worker, mkfs and the deletion of contents in a system job.
// volumes.cpp: create, list, load. volume_backends.cpp: which backend, tried. volume_sizes.cpp: resize, measure. volume_changes.cpp:
// rename, labels, protection. volume_removal.cpp: trash. volume_upkeep.cpp: the cleaner, and records that are behind.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker-root/broker/config.h"
#include "broker-root/broker/doorman.h"
#include "broker-root/broker/jobs.h"
#include "broker-root/broker/news.h"
#include "broker-root/broker/registry.h"
#include "broker-root/broker/slots.h"
#include "broker-root/broker/task.h"
#include "broker-root/broker/workers.h"

namespace joblet::broker {

class Volumes {
  public:
    struct Parts {
        EventLoop& loop;
        const BrokerConfig& config;
        Workers& workers;
        Slots& slots;
        Registry& registry;
        Jobs& jobs;
        const News& news;
        Host& host;
    };
    explicit Volumes(Parts parts) : p_(parts) {}

    // ---- requests; a refusal names the volume it is about
    // The same name again with the same type, size, inodes and explicit backend gives the same volume (kReplyExisted).
    Task<protocol::Reply> create(protocol::CreateVolume request, std::uint32_t uid);
    Task<protocol::Reply> remove(protocol::DeleteVolume request, Client client);
    Task<protocol::Reply> restore(protocol::RestoreVolume request, Client client);
    Task<protocol::Reply> protect(protocol::ProtectVolume request, Client client);
    Task<protocol::Reply> label(protocol::LabelVolume request, Client client);
    Task<protocol::Reply> rename(protocol::RenameVolume request, Client client);
    // Its limits from now on. While a job has it: larger, or of what the kernel can make smaller.
    Task<protocol::Reply> resize(protocol::ResizeVolume request, Client client);
    Task<protocol::VolumeMeasure> measure(protocol::MeasureVolume request, Client client);
    // A bare refusal is in `reply` alone.
    protocol::VolumeDetail stat(const protocol::StatVolume& request);
    [[nodiscard]] protocol::VolumePage page(const protocol::ListVolumes& request) const;

    // What a backend was found to hold: a volume is made, a job writes beyond its limit, and it goes. Once; whoever asks meanwhile waits.
    Task<protocol::BackendReport> report_on(protocol::Backend backend);
    // What "auto" takes for a volume without further wishes; Auto if nothing holds.
    Task<protocol::Backend> best_backend();
    // Ids of project quotas that volumes have, in the trash and on their way, too.
    [[nodiscard]] const std::set<std::uint32_t>& project_ids() const {
        return project_ids_;
    }
    // Whether something is in the trash that is to go.
    [[nodiscard]] bool goes(VolumeId id) const {
        return to_empty_.contains(id);
    }

    // At start: all records.
    Task<std::expected<void, Failure>> load();
    // From then on: records that are behind are written, a few at a time.
    void keep_records_fresh();
    // And what is over is cleared away, now and every cleaner_interval.
    void keep_clean();

  private:
    using NameKey = std::pair<std::uint32_t, std::string>;
    using Change = std::unique_ptr<ChangeOfVolume>;
    enum class Moves : std::uint8_t { No, Yes };

    // Waits for what is being done to the volume. NotFound if it is not there, or not this client's to manage.
    Task<std::expected<Change, protocol::Reply>> begin(VolumeId id, Client client, protocol::Authority authority, Moves moves);
    // Nobody makes, renames or restores a volume of that name while it is held. Precondition: it is not held.
    class NameHold;
    Task<bool> wait_for_name(NameKey key);
    // Until no job has the volume that is over: of one that is not, it is left where it is.
    Task<bool> let_go_of_ended(Volume& volume);
    // Until no job has the volume: an ending one is waited for, a running one gives it up if forced.
    Task<std::expected<void, protocol::Reply>> let_go(Volume& volume, bool forced);
    // A worker that was lost may have carried the order out: it is given once more. `moves`: then NotFound says that it has been.
    template <class Order> Task<WorkerReply> insist(Order order, Moves moves) {
        WorkerReply reply = co_await p_.workers.order(order);
        if (reply.lost) {
            reply = co_await p_.workers.order(order);
            if (moves == Moves::Yes && !reply.lost && reply.answer.code == ErrorCode::NotFound) {
                reply.answer.code = ErrorCode::Ok;
            }
        }
        co_return reply;
    }

    // What a volume asks of its backend.
    struct Wishes {
        protocol::VolumeType type{};
        protocol::Backend backend{}; // or Auto
        bool inodes = false;
        bool soft_limits = false;
    };
    Task<std::expected<protocol::Backend, protocol::Reply>> choose_backend(Wishes wishes);
    Task<protocol::BackendReport> try_backend(protocol::Backend backend);
    [[nodiscard]] std::optional<Failure> known_obstacle(protocol::Backend backend) const;
    std::expected<void, protocol::Reply> admit(const protocol::CreateVolume& request, std::uint32_t uid);
    std::expected<worker::VolumeRecord, protocol::Reply> make_record(const protocol::CreateVolume& request, protocol::Backend backend,
                                                                     std::uint32_t uid);
    [[nodiscard]] bool keeps_out_of_swap(const worker::VolumeRecord& record) const {
        return record.type == protocol::VolumeType::Memory && (p_.host.flags & protocol::kHostNoSwap) != 0;
    }
    // One that no record has; kept in project_ids_ until the volume is gone.
    std::uint32_t take_project_id();
    enum class Goal : std::uint8_t { Volumes, Trash };
    // `record` gets another project id if the kernel knows its one already.
    Task<std::expected<void, Failure>> build(worker::VolumeRecord& record, worker::Labels labels, std::uint32_t labels_size, Goal goal);
    Task<WorkerReply> stage(worker::VolumeRecord& record, std::uint32_t slot_first);
    Task<std::expected<void, Failure>> make_filesystem(worker::VolumeRecord record, Fd image, std::uint32_t slot);
    void loaded(const worker::LoadedVolume& loaded);
    // Only what the change needs; the record as it is to be.
    std::expected<worker::VolumeRecord, protocol::Reply> resized(const Volume& volume, const protocol::ResizeVolume& request) const;
    Task<std::expected<void, protocol::Reply>> set_limits(Volume& volume, worker::VolumeRecord after);
    // Of an image that no job has: a copy is made, resized by a system job, and takes its place.
    Task<std::expected<void, protocol::Reply>> replace_image(Volume& volume, worker::VolumeRecord after);
    Task<std::expected<void, Failure>> resize_copy(worker::VolumeRecord before, worker::VolumeRecord after, std::uint32_t slot);
    // The mount namespace of a job that has it, or none.
    Task<Fd> mounts_of_holder(VolumeId id);
    Task<std::expected<protocol::Usage, Failure>> usage_of(worker::VolumeRecord record, bool in_trash);
    Task<std::expected<void, Failure>> delete_contents(worker::VolumeRecord record);
    // What fails is tried again by the cleaner.
    Task<std::expected<void, Failure>> empty(worker::VolumeRecord record);
    Detached empty_trash(worker::VolumeRecord record);
    Detached write_stale_records();
    Detached remove_idle_memory_volumes();
    void empty_old_trash();

    Parts p_;
    std::map<NameKey, Gate> names_held_;
    std::map<VolumeId, worker::VolumeRecord> to_empty_; // in the trash, to go as soon as it can be done
    std::set<VolumeId> being_emptied_;
    std::set<std::uint32_t> project_ids_;
    std::map<protocol::Backend, protocol::BackendReport> tried_;
    std::map<protocol::Backend, Gate> being_tried_;
};

// Held from the decision about a name until the registry knows.
class Volumes::NameHold {
  public:
    NameHold(Volumes& volumes, NameKey key) : volumes_(volumes), key_(std::move(key)), over_(volumes.p_.loop) {
        volumes_.names_held_.emplace(key_, over_);
    }
    ~NameHold() {
        volumes_.names_held_.erase(key_);
        over_.open();
    }
    NameHold(const NameHold&) = delete;
    NameHold& operator=(const NameHold&) = delete;

  private:
    Volumes& volumes_;
    NameKey key_;
    Gate over_;
};

} // namespace joblet::broker
