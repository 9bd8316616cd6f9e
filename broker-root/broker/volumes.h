// Operations on volumes: the decisions here, the disk in a worker, mkfs in a system job.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <utility>

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
    };
    explicit Volumes(Parts parts) : p_(parts) {}

    // The same name again with the same type, size, inodes and explicit backend gives the same volume (kReplyExisted).
    Task<protocol::Reply> create(protocol::CreateVolume request, std::uint32_t uid);
    Task<protocol::Reply> remove(protocol::DeleteVolume request, Client client);
    // A bare refusal is in `reply` alone.
    protocol::VolumeDetail stat(const protocol::StatVolume& request);
    [[nodiscard]] protocol::VolumePage page(const protocol::ListVolumes& request) const;

    // At start: all records.
    Task<std::expected<void, Failure>> load();
    // From then on: records whose last_used has moved on are written, a few at a time.
    void keep_records_fresh();
    // And what is over is cleared away, every cleaner_interval.
    void keep_clean();

  private:
    using NameKey = std::pair<std::uint32_t, std::string>;

    std::expected<worker::VolumeRecord, protocol::Reply> admit(const protocol::CreateVolume& request, std::uint32_t uid);
    Task<std::expected<void, Failure>> build(worker::VolumeRecord record, const worker::Labels& labels);
    Task<std::expected<void, Failure>> make_filesystem(worker::VolumeRecord record, Fd image, std::uint32_t slot);
    Detached empty_trash(VolumeId id);
    Detached write_stale_records();
    Detached remove_idle_memory_volumes();

    Parts p_;
    std::map<NameKey, Gate> being_created_;
};

} // namespace joblet::broker
