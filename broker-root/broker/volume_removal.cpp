// Deleting: out of the jobs, into the trash, and from there back or away for good. How long something stays there is root's word
// (broker.toml) and on disk in its record; a request can ask for less only when it says so.
#include <algorithm>

#include <fmt/format.h>

#include "broker-root/broker/clock.h"
#include "broker-root/broker/volumes.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

constexpr auto kContents = "data"; // where a system job sees what it has to delete: /volumes/data

protocol::Reply about(VolumeId id, protocol::Reply reply) {
    reply.volume = id;
    return reply;
}

} // namespace

Task<bool> Volumes::let_go_of_ended(Volume& volume) {
    for (bool waited = true; waited;) {
        waited = false;
        for (const Holder& holder : volume.holders) {
            if (const JobPointer job = p_.jobs.ending(holder.job); job && !job->settled.await_ready()) {
                const Gate settled = job->settled;
                co_await settled;
                waited = true; // and the holders are others now
                break;
            }
        }
    }
    const bool is_free = volume.holders.empty();
    co_return is_free;
}

Task<std::expected<void, protocol::Reply>> Volumes::let_go(Volume& volume, bool forced) {
    const VolumeId id = volume.record.id;
    while (!volume.holders.empty()) {
        const JobId holder = volume.holders.front().job;
        if (const JobPointer job = p_.jobs.ending(holder); job && !job->settled.await_ready()) {
            const Gate settled = job->settled;
            co_await settled;
            continue;
        }
        if (forced) {
            const auto taken = co_await p_.jobs.take_away(holder, id);
            if (taken) {
                continue;
            }
            if (taken.error().code != ErrorCode::InUse) {
                co_return std::unexpected(about(id, refusal(taken.error())));
            }
        }
        auto reply = about(id, refusal(ErrorCode::InUse));
        reply.job = holder;
        co_return std::unexpected(reply);
    }
    co_return std::expected<void, protocol::Reply>();
}

Task<protocol::Reply> Volumes::remove(protocol::DeleteVolume request, Client client) {
    const VolumeId id = request.id;
    const auto change = co_await begin(id, client, request.authority, Moves::Yes);
    if (!change) {
        co_return change.error();
    }
    Volume& volume = (*change)->volume();
    const bool now = (request.flags & protocol::kDeleteNow) != 0;
    const bool forced = (request.flags & protocol::kDeleteForce) != 0;
    if ((volume.record.flags & protocol::kVolumeProtected) != 0) {
        co_return about(id, refusal(ErrorCode::PermissionDenied));
    }
    if (volume.trashed && !now) {
        co_return about(id, refusal(ErrorCode::Conflict));
    }
    worker::VolumeRecord record = volume.record;
    if (!volume.trashed) {
        const auto free = co_await let_go(volume, forced);
        if (!free) {
            co_return free.error();
        }
        const bool is_kept = record.type == protocol::VolumeType::Filesystem && p_.config.trash_retention.count() != 0 && !now;
        record = volume.record;
        record.trashed_until_ns = is_kept ? realtime_ns() + std::chrono::nanoseconds(p_.config.trash_retention).count() : 0;
        ++record.generation;
        worker::TrashVolume trash;
        trash.record = record;
        trash.forced = forced ? 1 : 0;
        const WorkerReply trashed = co_await insist(trash, Moves::Yes);
        if (!trashed.ok()) {
            volume.quarantined = volume.quarantined || trashed.lost;
            p_.news.volume_changed(volume);
            co_return about(id, refusal(trashed.failure()));
        }
        if (is_kept) {
            p_.registry.trash(id);
            volume.record = record;
            p_.news.volume_changed(volume);
            co_return about(id, {});
        }
    }
    p_.registry.erase(id);
    p_.news.volume_gone(id);
    if ((request.flags & protocol::kDeleteWait) != 0) {
        const auto emptied = co_await empty(record);
        co_return about(id, emptied ? protocol::Reply{} : refusal(emptied.error()));
    }
    empty_trash(record);
    co_return about(id, {});
}

Task<protocol::Reply> Volumes::restore(protocol::RestoreVolume request, Client client) {
    const VolumeId id = request.id;
    const auto change = co_await begin(id, client, protocol::Authority::User, Moves::Yes);
    if (!change) {
        co_return change.error();
    }
    Volume& volume = (*change)->volume();
    if (!volume.trashed) {
        co_return about(id, refusal(ErrorCode::NotFound));
    }
    const NameText name = request.name.empty() ? volume.record.name : request.name;
    const NameKey key{volume.record.owner_uid, name.string()};
    co_await wait_for_name(key);
    if (const Volume* taken = p_.registry.find(key.first, key.second)) {
        co_return about(taken->record.id, refusal(ErrorCode::Conflict));
    }
    const NameHold held(*this, key);
    worker::RestoreVolume order;
    order.record = volume.record;
    order.record.name = name;
    ++order.record.generation;
    const WorkerReply restored = co_await insist(order, Moves::Yes);
    if (!restored.ok()) {
        volume.quarantined = volume.quarantined || restored.lost;
        p_.news.volume_changed(volume);
        co_return about(id, refusal(restored.failure()));
    }
    p_.registry.restore(id, name);
    volume.record.generation = order.record.generation;
    volume.record.trashed_until_ns = 0;
    volume.record_is_stale = true; // on disk it still says until when it was trash, which counts for nothing there
    p_.news.volume_changed(volume);
    co_return about(id, {});
}

Task<std::expected<void, Failure>> Volumes::delete_contents(worker::VolumeRecord record) {
    const auto slot = p_.slots.take();
    if (!slot) {
        co_return std::unexpected(Failure{ErrorCode::Unavailable, Step::MakeSlot, 0});
    }
    worker::MountVolume volume;
    volume.id = record.id;
    volume.name = NameText(kContents);
    volume.size_bytes = record.size_bytes;
    volume.inodes = record.inodes;
    volume.backend = record.backend;
    SystemJob job{
        {"/usr/bin/find", fmt::format("/volumes/{}", kContents), "-mindepth", "1", "-delete"}, {}, {}, *slot, record.owner_uid, volume};
    auto deleted = co_await p_.jobs.run_system_job(std::move(job));
    p_.slots.give_back(*slot);
    if (!deleted && deleted.error().step == Step::None) {
        deleted.error().step = Step::DeleteContents;
    }
    co_return deleted;
}

Task<std::expected<void, Failure>> Volumes::empty(worker::VolumeRecord record) {
    const VolumeId id = record.id;
    to_empty_.insert_or_assign(id, record);
    if (!being_emptied_.insert(id).second) {
        co_return std::expected<void, Failure>();
    }
    if (!p_.news.on_record(AuditFields("emptying").add("volume", id).add("uid", record.owner_uid))) {
        being_emptied_.erase(id); // another time
        co_return std::unexpected(Failure{ErrorCode::Unavailable, Step::WriteAudit, 0});
    }
    worker::EmptyTrash empty;
    empty.id = id;
    WorkerReply emptied = co_await p_.workers.order(empty);
    // Subvolumes in it, which the file system does not delete with it: a job does, as the owner of what is inside
    if (!emptied.ok() && emptied.answer.sys_errno == ENOTEMPTY && record.magic == worker::kVolumeRecordMagic) {
        const auto deleted = co_await delete_contents(record);
        if (deleted) {
            emptied = co_await p_.workers.order(empty);
        }
    }
    being_emptied_.erase(id);
    (void)p_.news.on_record(AuditFields("emptied")
                                .add("volume", id)
                                .add("verdict", error_code_name(emptied.answer.code))
                                .add("errno", static_cast<std::uint64_t>(std::max(emptied.answer.sys_errno, 0))));
    if (!emptied.ok()) {
        log::error(fmt::format("volume {} in the trash could not be deleted for good: could not {}; it is tried again", to_string(id),
                               step_phrase(emptied.answer.step)));
        co_return std::unexpected(emptied.failure());
    }
    to_empty_.erase(id);
    project_ids_.erase(record.project_id);
    co_return std::expected<void, Failure>();
}

Detached Volumes::empty_trash(worker::VolumeRecord record) {
    co_await empty(record);
}

} // namespace joblet::broker
