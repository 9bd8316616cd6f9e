// What is done without anybody's asking: records that are behind are written, idle memory volumes and old trash go.
#include <algorithm>

#include <fmt/format.h>

#include "broker-root/broker/clock.h"
#include "broker-root/broker/volumes.h"
#include "shared/duration.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

constexpr std::chrono::seconds kFlushInterval{30};
constexpr std::size_t kFlushAtOnce = 64;

} // namespace

void Volumes::keep_records_fresh() {
    p_.loop.after(kFlushInterval, [this] {
        write_stale_records();
        keep_records_fresh();
    });
}

void Volumes::keep_clean() {
    p_.jobs.release_dead();
    remove_idle_memory_volumes();
    empty_old_trash();
    p_.loop.after(p_.config.cleaner_interval, [this] { keep_clean(); });
}

void Volumes::empty_old_trash() {
    const std::int64_t now = realtime_ns();
    std::vector<VolumeId> over;
    for (const auto& [id, volume] : p_.registry.all()) {
        if (volume.trashed && !volume.change && volume.record.trashed_until_ns <= now) {
            over.push_back(id);
        }
    }
    for (const VolumeId id : over) {
        to_empty_.insert_or_assign(id, p_.registry.find(id)->record);
        p_.registry.erase(id);
        p_.news.volume_gone(id);
    }
    const auto all = to_empty_; // empty_trash() changes it
    for (const auto& [id, record] : all) {
        empty_trash(record);
    }
}

Detached Volumes::remove_idle_memory_volumes() {
    const std::chrono::nanoseconds timeout = p_.config.memory_volume_timeout;
    if (timeout.count() == 0) {
        co_return;
    }
    const std::int64_t before = realtime_ns() - timeout.count();
    std::vector<std::pair<VolumeId, std::uint32_t>> idle;
    for (const auto& [id, volume] : p_.registry.all()) {
        if (volume.record.type == protocol::VolumeType::Memory && volume.holders.empty() && !volume.change && !volume.is_quarantined() &&
            (volume.record.flags & protocol::kVolumeProtected) == 0 &&
            std::max(volume.record.created_ns, volume.record.last_used_ns) < before) {
            idle.emplace_back(id, volume.record.owner_uid);
        }
    }
    for (const auto& [id, owner] : idle) {
        const Volume* volume = p_.registry.find(id);
        if (volume == nullptr || !volume->holders.empty()) {
            continue; // while the one before it was being removed
        }
        if (!p_.news.on_record(AuditFields("idle_volume").add("volume", id).add("uid", owner))) {
            continue;
        }
        protocol::DeleteVolume request;
        request.id = id;
        const protocol::Reply removed = co_await remove(request, Client{.uid = owner});
        if (removed.code == ErrorCode::Ok) {
            log::info(fmt::format("memory volume {} was idle for longer than {} and is removed", to_string(id),
                                  format_duration(p_.config.memory_volume_timeout)));
        }
    }
}

Detached Volumes::write_stale_records() {
    std::vector<VolumeId> stale;
    for (const auto& [id, volume] : p_.registry.all()) {
        if (volume.record_is_stale && !volume.trashed && !volume.is_quarantined() && stale.size() < kFlushAtOnce) {
            stale.push_back(id);
        }
    }
    for (const VolumeId id : stale) {
        Volume* volume = p_.registry.find(id);
        if (volume == nullptr || volume->change || volume->trashed) {
            continue; // another time
        }
        const ChangeOfVolume change(p_.loop, p_.registry, *volume, false);
        volume->record_is_stale = false;
        ++volume->record.generation;
        worker::UpdateRecord update;
        update.record = volume->record;
        co_await p_.workers.order(update); // not durable: a crash may cost the last use's time, no more
    }
}

} // namespace joblet::broker
