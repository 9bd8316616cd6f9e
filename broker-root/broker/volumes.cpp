#include "broker-root/broker/volumes.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "broker-root/broker/clock.h"
#include "broker-root/worker/image_geometry.h"
#include "shared/duration.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

using protocol::Backend;
using protocol::VolumeType;

constexpr std::chrono::seconds kFlushInterval{30};
constexpr std::size_t kFlushAtOnce = 64;

bool is_same(const protocol::CreateVolume& request, const worker::VolumeRecord& record) {
    return request.type == record.type && request.size_bytes == record.size_bytes && request.inodes == record.inodes &&
           (request.backend == Backend::Auto || request.backend == record.backend);
}

} // namespace

std::expected<worker::VolumeRecord, protocol::Reply> Volumes::admit(const protocol::CreateVolume& request, std::uint32_t uid) {
    const UserLimits& limits = p_.config.limits_of(uid);
    if (request.size_bytes > limits.largest_volume) {
        return std::unexpected(limit_refusal(protocol::LimitKind::VolumeSize, limits.largest_volume, 0, request.size_bytes));
    }
    const Usage usage = p_.registry.usage(uid);
    if (usage.volumes >= limits.volumes) {
        return std::unexpected(limit_refusal(protocol::LimitKind::VolumesPerUser, limits.volumes, usage.volumes, 1));
    }
    if (usage.bytes > limits.total_bytes || request.size_bytes > limits.total_bytes - usage.bytes) {
        return std::unexpected(limit_refusal(protocol::LimitKind::BytesPerUser, limits.total_bytes, usage.bytes, request.size_bytes));
    }
    worker::VolumeRecord record;
    record.magic = worker::kVolumeRecordMagic;
    record.version = worker::kVolumeRecordVersion;
    record.size = sizeof record;
    record.id = make_random_id<VolumeId>();
    record.name = request.name;
    record.size_bytes = request.size_bytes;
    record.inodes = request.inodes;
    record.generation = 1;
    record.created_ns = realtime_ns();
    record.owner_uid = uid;
    record.type = request.type;
    record.backend = request.type == VolumeType::Memory ? Backend::Tmpfs : Backend::Image;
    record.labels_size = request.labels_size;
    if (record.backend == Backend::Image) {
        record.image_bytes = worker::image_bytes_for(record.size_bytes, record.inodes);
        if (record.image_bytes == 0) { // larger than ext4 of this geometry can be
            return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::MakeImage, 0}));
        }
    }
    return record;
}

Task<protocol::Reply> Volumes::create(protocol::CreateVolume request, std::uint32_t uid) {
    const NameKey key{uid, request.name.string()};
    for (auto pending = being_created_.find(key); pending != being_created_.end(); pending = being_created_.find(key)) {
        const Gate over = pending->second;
        co_await over;
    }
    if (const Volume* existing = p_.registry.find(uid, key.second)) {
        auto reply = refusal(is_same(request, existing->record) && !existing->removing ? ErrorCode::Ok : ErrorCode::Conflict);
        reply.volume = existing->record.id;
        reply.flags = reply.code == ErrorCode::Ok ? protocol::kReplyExisted : 0;
        co_return reply;
    }
    const auto admitted = admit(request, uid);
    if (!admitted) {
        co_return admitted.error();
    }
    const worker::VolumeRecord record = *admitted;

    const Gate over(p_.loop);
    being_created_.emplace(key, over);
    p_.registry.reserve(uid, record.size_bytes);
    const auto built = co_await build(record, request.labels);
    p_.registry.unreserve(uid, record.size_bytes);
    if (built) {
        Volume volume;
        volume.record = record;
        volume.labels.assign(reinterpret_cast<const char*>(request.labels.data()), request.labels_size);
        p_.registry.insert(std::move(volume));
        p_.news.volume_changed(*p_.registry.find(record.id));
    }
    being_created_.erase(key);
    over.open();
    if (!built) {
        co_return refusal(built.error());
    }
    protocol::Reply reply;
    reply.volume = record.id;
    co_return reply;
}

Task<std::expected<void, Failure>> Volumes::build(worker::VolumeRecord record, const worker::Labels& labels) {
    const bool has_image = record.backend == Backend::Image;
    std::optional<std::uint32_t> slot;
    if (has_image) {
        slot = p_.slots.take();
        if (!slot) {
            co_return std::unexpected(Failure{ErrorCode::Unavailable, Step::MakeSlot, 0});
        }
    }
    worker::StageVolume stage;
    stage.record = record;
    stage.slot_first = has_image ? p_.slots.first_uid(*slot) : 0;
    WorkerReply staged = co_await p_.workers.order(stage);
    std::expected<void, Failure> result;
    if (!staged.ok()) {
        result = std::unexpected(staged.failure());
    } else if (has_image) {
        if (staged.descriptors.size() != 1) {
            result = std::unexpected(Failure{ErrorCode::Internal, Step::MakeImage, 0});
        } else {
            result = co_await make_filesystem(record, std::move(staged.descriptors.front()), *slot);
        }
    }
    bool lost = staged.lost;
    if (result) {
        worker::CommitVolume commit;
        commit.record = record;
        commit.labels = labels;
        const WorkerReply committed = co_await p_.workers.order(commit);
        lost = committed.lost;
        if (!committed.ok()) {
            result = std::unexpected(committed.failure());
        }
    }
    if (!result) {
        // A lost commit may have been carried out: whatever there is of it goes, so that the answer is true
        if (lost) {
            worker::TrashVolume trash;
            trash.id = record.id;
            co_await p_.workers.order(trash);
            worker::EmptyTrash empty;
            empty.id = record.id;
            co_await p_.workers.order(empty);
        }
        worker::DiscardStaging discard;
        discard.id = record.id;
        co_await p_.workers.order(discard);
    }
    if (slot) {
        p_.slots.give_back(*slot);
    }
    co_return result;
}

Task<std::expected<void, Failure>> Volumes::make_filesystem(worker::VolumeRecord record, Fd image, std::uint32_t slot) {
    auto made = co_await p_.jobs.run_system_job(worker::mkfs_arguments(record), std::move(image), slot);
    if (!made && made.error().step == Step::None) {
        made.error().step = Step::MakeFilesystem;
    }
    co_return made;
}

Task<protocol::Reply> Volumes::remove(protocol::DeleteVolume request, Client client) {
    for (;;) {
        Volume* volume = p_.registry.find(request.id);
        const bool managed = volume != nullptr &&
                             (volume->record.owner_uid == client.uid || (request.authority == protocol::Authority::Admin && client.admin));
        if (!managed || volume->removing) {
            auto reply = refusal(ErrorCode::NotFound);
            reply.volume = request.id;
            co_return reply;
        }
        if (volume->holders.empty()) {
            volume->removing = true;
            break;
        }
        const JobId holder = volume->holders.front().job;
        const JobPointer job = p_.jobs.ending(holder);
        if (!job || job->settled.await_ready()) {
            auto reply = refusal(ErrorCode::InUse);
            reply.volume = request.id;
            reply.job = holder;
            co_return reply;
        }
        const Gate settled = job->settled;
        co_await settled;
    }
    worker::TrashVolume trash;
    trash.id = request.id;
    const WorkerReply trashed = co_await p_.workers.order(trash);
    if (!trashed.ok()) {
        if (Volume* volume = p_.registry.find(request.id)) {
            volume->removing = false;
            volume->quarantined = volume->quarantined || trashed.lost;
            p_.news.volume_changed(*volume);
        }
        auto reply = refusal(trashed.failure());
        reply.volume = request.id;
        co_return reply;
    }
    p_.registry.erase(request.id);
    p_.news.volume_gone(request.id);
    empty_trash(request.id);
    protocol::Reply reply;
    reply.volume = request.id;
    co_return reply;
}

Detached Volumes::empty_trash(VolumeId id) {
    worker::EmptyTrash empty;
    empty.id = id;
    const WorkerReply emptied = co_await p_.workers.order(empty);
    if (!emptied.ok()) {
        log::error(fmt::format("the trash of volume {} could not be emptied; it is tried again at the next start", to_string(id)));
    }
}

protocol::VolumeDetail Volumes::stat(const protocol::StatVolume& request) {
    protocol::VolumeDetail out;
    const Volume* volume = p_.registry.find(request.id);
    if (volume == nullptr) {
        out.reply = refusal(ErrorCode::NotFound);
        return out;
    }
    out.reply.volume = request.id;
    out.volume = entry_of(*volume);
    std::memcpy(out.labels.data(), volume->labels.data(), volume->labels.size());
    return out;
}

protocol::VolumePage Volumes::page(const protocol::ListVolumes& request) const {
    protocol::VolumePage out;
    const auto volumes = p_.registry.page(request.after, out.volumes.size() + 1);
    if (volumes.size() > out.volumes.size()) {
        out.reply.flags |= protocol::kReplyMore;
    }
    for (const Volume* volume : volumes) {
        if (out.reply.count == out.volumes.size()) {
            break;
        }
        out.volumes[out.reply.count++] = entry_of(*volume);
    }
    return out;
}

Task<std::expected<void, Failure>> Volumes::load() {
    const WorkerReply reply = co_await p_.workers.order(worker::LoadVolumes{}, {}, [this](std::span<const std::byte> bytes) {
        worker::VolumesLoaded part;
        if (bytes.size() != sizeof part) {
            return;
        }
        std::memcpy(&part, bytes.data(), sizeof part);
        for (const auto& loaded : std::span(part.volumes).first(std::min<std::size_t>(part.answer.count, part.volumes.size()))) {
            if (loaded.record.magic != worker::kVolumeRecordMagic) {
                // Without a record there is neither owner nor name: nobody can use it, and it is not touched
                log::error(
                    fmt::format("volume {} has no record that this version can read; it is left as it is", to_string(loaded.record.id)));
                continue;
            }
            Volume volume;
            volume.record = loaded.record;
            volume.quarantined = loaded.status == protocol::VolumeStatus::Quarantined;
            volume.labels.assign(reinterpret_cast<const char*>(loaded.labels.data()),
                                 std::min<std::size_t>(loaded.record.labels_size, loaded.labels.size()));
            if (!p_.registry.insert(std::move(volume))) {
                log::error(fmt::format("volume {} has a name that another volume of its owner has; it is left as it is",
                                       to_string(loaded.record.id)));
            }
        }
    });
    if (!reply.ok()) {
        co_return std::unexpected(reply.failure());
    }
    co_return std::expected<void, Failure>();
}

void Volumes::keep_records_fresh() {
    p_.loop.after(kFlushInterval, [this] {
        write_stale_records();
        keep_records_fresh();
    });
}

void Volumes::keep_clean() {
    p_.loop.after(p_.config.cleaner_interval, [this] {
        p_.jobs.release_dead();
        remove_idle_memory_volumes();
        keep_clean();
    });
}

Detached Volumes::remove_idle_memory_volumes() {
    const std::chrono::nanoseconds timeout = p_.config.memory_volume_timeout;
    if (timeout.count() == 0) {
        co_return;
    }
    const std::int64_t before = realtime_ns() - timeout.count();
    std::vector<std::pair<VolumeId, std::uint32_t>> idle;
    for (const auto& [id, volume] : p_.registry.all()) {
        if (volume.record.type == VolumeType::Memory && volume.holders.empty() && !volume.removing && !volume.quarantined &&
            std::max(volume.record.created_ns, volume.record.last_used_ns) < before) {
            idle.emplace_back(id, volume.record.owner_uid);
        }
    }
    for (const auto& [id, owner] : idle) {
        const Volume* volume = p_.registry.find(id);
        if (volume == nullptr || !volume->holders.empty()) {
            continue; // while the one before it was being removed
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
        if (volume.record_is_stale && !volume.removing && !volume.quarantined && stale.size() < kFlushAtOnce) {
            stale.push_back(id);
        }
    }
    for (const VolumeId id : stale) {
        Volume* volume = p_.registry.find(id);
        if (volume == nullptr || volume->removing) {
            continue;
        }
        volume->record_is_stale = false;
        ++volume->record.generation;
        worker::UpdateRecord update;
        update.record = volume->record;
        co_await p_.workers.order(update); // not durable: a crash may cost the last use's time, no more
    }
}

} // namespace joblet::broker
