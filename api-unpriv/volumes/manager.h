// What users do with volumes: checks what they ask for, asks the broker, keeps the index true.
#pragma once

#include <deque>
#include <functional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <kj/async.h>

#include "api-unpriv/broker_client.h"
#include "api-unpriv/caller.h"
#include "api-unpriv/errors.h"
#include "api-unpriv/jobs/job.h"
#include "api-unpriv/store/writer.h"
#include "api-unpriv/volumes/index.h"
#include "api-unpriv/volumes/sizes.h"

namespace joblet::api {

struct NewVolume {
    std::string name;
    VolumeSizes sizes;
    protocol::IoLimits io;
    protocol::VolumeType type = protocol::VolumeType::Filesystem;
    protocol::Backend backend = protocol::Backend::Auto;
    Labels labels;
};
struct CreatedVolume {
    Volume volume;
    bool existed = false;
};

// A volume of the caller's, as asked for in a job.
struct WantedVolume {
    std::string volume; // name, id or the beginning of one
    std::string target; // empty: only at /volumes/<name>
    bool read_only = false;
};

struct VolumeList {
    std::vector<Volume> volumes;
    std::string next; // VolumePage's
    std::uint64_t matching = 0;
};
struct MeasuredVolume {
    VolumeId id;
    protocol::Usage usage; // as the kernel counts
};
struct LabelChange {
    Labels set; // in any order
    std::vector<std::string> remove;
};
struct Removal {
    bool force = false; // detached from running jobs first
    bool now = false;   // not kept in the trash
    bool wait = false;  // answered when its contents are gone; only with `now`
};

class VolumeManager final : private kj::TaskSet::ErrorHandler {
  public:
    VolumeManager(BrokerClient& broker, StoreWriter& store) : broker_(broker), store_(store), tasks_(*this) {}

    // Who tells which jobs that are alive have a volume, for those who are refused because of them.
    void set_holders(std::function<std::vector<JobId>(const VolumeId&)> holders) {
        holders_ = std::move(holders);
    }

    kj::Promise<Outcome<CreatedVolume>> create(const Caller& caller, NewVolume wanted);
    // What is others' is shown only after the broker has it on record.
    kj::Promise<Outcome<Volume>> get(const Caller& caller, std::string_view selector, Scope scope);
    // The scope in the query is what was asked for.
    kj::Promise<Outcome<VolumeList>> list(const Caller& caller, VolumeQuery query);
    // In the order of the selectors; one that fails is the answer. No selectors: all in scope but what is in the trash or quarantined, by
    // owner and name; at most kMeasuredMax.
    kj::Promise<Outcome<std::vector<MeasuredVolume>>> usage(const Caller& caller, std::vector<std::string> selectors, Scope scope);
    static constexpr std::size_t kMeasuredMax = 1000; // as the schema says

    // Each gives the volume as it is afterwards. Where there is no way for an admin, every scope but Own is refused.
    kj::Promise<Outcome<Volume>> rename(const Caller& caller, std::string_view selector, Scope scope, std::string_view name);
    kj::Promise<Outcome<Volume>> label(const Caller& caller, std::string_view selector, Scope scope, LabelChange wanted);
    kj::Promise<Outcome<Volume>> protect(const Caller& caller, std::string_view selector, Scope scope, bool is_protected);
    // Looks among the trashed. No name: the one it had.
    kj::Promise<Outcome<Volume>> restore(const Caller& caller, std::string_view selector, Scope scope, std::string_view name);
    // What is 0 in `wanted` stays as it is, see resize_request.
    kj::Promise<Outcome<Volume>> resize(const Caller& caller, std::string_view selector, Scope scope, const VolumeSizes& wanted);
    kj::Promise<Outcome<void>> remove(const Caller& caller, std::string_view selector, Scope scope, Removal how);

    // The caller's own volume, not a trashed one. `doing` is what it is looked up for: "rename". Valid until the next turn of the
    // event loop.
    [[nodiscard]] Outcome<const Volume*> own(const Caller& caller, std::string_view selector, const Scope& asked,
                                             std::string_view doing) const;

    // The volumes of a job about to be started, each checked: own, not twice, targets free. Whether they are free to use is
    // the broker's to decide.
    [[nodiscard]] Outcome<std::vector<UsedVolume>> prepare_volumes(const Caller& caller, std::span<const WantedVolume> wanted) const;
    // After a job's end: asks the broker again about whatever still seems to be in use by it.
    kj::Promise<void> cleanup_volumes(JobId job, const std::vector<UsedVolume>& used);

    // What the broker said.
    void changed(const protocol::VolumeEntry& entry, std::span<const std::uint8_t> labels);
    void gone(const VolumeId& id);
    // Asks the broker about one volume. False if it did not say.
    kj::Promise<bool> refresh(VolumeId id);

    // At start: every volume the broker has, then whatever differs from `stored` is written. Resolves when the index is complete.
    kj::Promise<void> load(kj::Timer& timer, std::vector<Volume> stored);

    [[nodiscard]] const VolumeIndex& index() const {
        return index_;
    }

  private:
    kj::Promise<void> load_page(kj::Timer& timer, VolumeId after);
    void taskFailed(kj::Exception&& exception) override;
    [[nodiscard]] Outcome<const Volume*> select(std::string_view selector, const Scope& allowed, Among among) const;
    // Before something is shown in a permitted scope: of one volume, or a list. An error is the answer.
    kj::Promise<Outcome<void>> on_record(const Caller& caller, const Scope& scope, VolumeId one = {}, std::string asked = {});
    // A refusal may show what others have, too.
    template <class T> kj::Promise<Outcome<T>> refuse_on_record(const Caller& caller, const Scope& scope, Refusal refusal) {
        return on_record(caller, scope).then([refusal = std::move(refusal)](const Outcome<void>& recorded) -> Outcome<T> {
            return std::unexpected(recorded ? refusal : recorded.error());
        });
    }
    struct Measurement; // volumes/usage.cpp
    [[nodiscard]] Outcome<std::vector<VolumeId>> measured_by_default(const Scope& allowed) const;
    kj::Promise<Outcome<std::vector<MeasuredVolume>>> measure(const Caller& caller, Measurement wanted);
    kj::Promise<void> measure_on(Measurement& work);
    template <class Request> kj::Promise<Outcome<Volume>> change(const Caller& caller, Request request, Subject subject);
    template <class T> kj::Promise<Outcome<T>> lasting(kj::Promise<Outcome<T>> change);
    // Labels are replaced as a whole: who changes some of them waits for the change before.
    kj::Promise<void> turn(VolumeId id);
    void end_turn(VolumeId id);
    [[nodiscard]] Refusal refusal(const protocol::Reply& reply, VolumeId id, Subject subject) const;
    [[nodiscard]] Refusal conflict(const NewVolume& wanted, const protocol::Reply& reply) const;

    BrokerClient& broker_;
    StoreWriter& store_;
    VolumeIndex index_;
    std::function<std::vector<JobId>(const VolumeId&)> holders_;
    std::unordered_map<VolumeId, std::deque<kj::Own<kj::PromiseFulfiller<void>>>> turns_; // whose turn comes next
    bool loading_ = false;                                                                // the store is written when all is known
    kj::TaskSet tasks_;                                                                   // last: its tasks use the rest
};

} // namespace joblet::api
