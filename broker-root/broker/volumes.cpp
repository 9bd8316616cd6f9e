#include "broker-root/broker/volumes.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "broker-root/broker/clock.h"
#include "broker-root/broker/job_limits.h"
#include "broker-root/worker/image_geometry.h"
#include "shared/duration.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

using protocol::Backend;

bool is_same(const protocol::CreateVolume& request, const worker::VolumeRecord& record) {
    return request.type == record.type && request.size_bytes == record.size_bytes && request.inodes == record.inodes &&
           request.soft_size_bytes == record.soft_size_bytes && request.soft_inodes == record.soft_inodes &&
           (request.backend == Backend::Auto || request.backend == record.backend);
}

} // namespace

std::expected<void, protocol::Reply> Volumes::admit(const protocol::CreateVolume& request, std::uint32_t uid) {
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
    if (request.io != protocol::IoLimits{}) {
        if (const auto possible = can_hold_io(p_.host); !possible) {
            return std::unexpected(refusal(possible.error()));
        }
    }
    return {};
}

std::expected<worker::VolumeRecord, protocol::Reply> Volumes::make_record(const protocol::CreateVolume& request, Backend backend,
                                                                          std::uint32_t uid) {
    worker::VolumeRecord record;
    record.magic = worker::kVolumeRecordMagic;
    record.version = worker::kVolumeRecordVersion;
    record.size = sizeof record;
    record.id = make_random_id<VolumeId>();
    record.name = request.name;
    record.size_bytes = request.size_bytes;
    record.inodes = request.inodes;
    record.soft_size_bytes = request.soft_size_bytes;
    record.soft_inodes = request.soft_inodes;
    record.io = request.io;
    record.generation = 1;
    record.created_ns = realtime_ns();
    record.owner_uid = uid;
    record.type = request.type;
    record.backend = backend;
    if (backend == Backend::Image) {
        record.image_bytes = worker::image_bytes_for(record.size_bytes, record.inodes);
        if (record.image_bytes == 0) { // larger than ext4 of this geometry can be
            return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::MakeImage, 0}));
        }
    }
    return record;
}

Task<bool> Volumes::wait_for_name(NameKey key) {
    bool waited = false;
    for (auto held = names_held_.find(key); held != names_held_.end(); held = names_held_.find(key)) {
        const Gate over = held->second;
        co_await over;
        waited = true;
    }
    co_return waited;
}

Task<protocol::Reply> Volumes::create(protocol::CreateVolume request, std::uint32_t uid) {
    const NameKey key{uid, request.name.string()};
    for (;;) {
        co_await wait_for_name(key);
        const Volume* existing = p_.registry.find(uid, key.second);
        if (existing == nullptr) {
            break;
        }
        if (existing->change && existing->change->moves) { // its name may be free in a moment
            const Gate over = existing->change->over;
            co_await over;
            continue;
        }
        auto reply = refusal(is_same(request, existing->record) ? ErrorCode::Ok : ErrorCode::Conflict);
        reply.volume = existing->record.id;
        reply.flags = reply.code == ErrorCode::Ok ? protocol::kReplyExisted : 0;
        co_return reply;
    }
    if (const auto admitted = admit(request, uid); !admitted) {
        co_return admitted.error();
    }
    const NameHold held(*this, key);
    p_.registry.reserve(uid, request.size_bytes);
    const Wishes wishes{request.type, request.backend, request.inodes != 0, request.soft_size_bytes != 0 || request.soft_inodes != 0};
    const auto backend = co_await choose_backend(wishes);
    auto record = backend ? make_record(request, *backend, uid) : std::unexpected(backend.error());
    if (record) {
        const auto built = co_await build(*record, request.labels, request.labels_size, Goal::Volumes);
        if (!built) {
            record = std::unexpected(refusal(built.error()));
        }
    }
    p_.registry.unreserve(uid, request.size_bytes);
    if (!record) {
        co_return record.error();
    }
    Volume volume;
    volume.record = *record;
    volume.no_swap = keeps_out_of_swap(volume.record);
    volume.labels.assign(reinterpret_cast<const char*>(request.labels.data()), request.labels_size);
    p_.registry.insert(std::move(volume));
    p_.news.volume_changed(*p_.registry.find(record->id));
    protocol::Reply reply;
    reply.volume = record->id;
    co_return reply;
}

Task<std::expected<void, Failure>> Volumes::build(worker::VolumeRecord& record, worker::Labels labels, std::uint32_t labels_size,
                                                  Goal goal) {
    const bool has_image = record.backend == Backend::Image;
    std::optional<std::uint32_t> slot;
    if (has_image) {
        slot = p_.slots.take();
        if (!slot) {
            co_return std::unexpected(Failure{ErrorCode::Unavailable, Step::MakeSlot, 0});
        }
    }
    WorkerReply staged = co_await stage(record, has_image ? p_.slots.first_uid(*slot) : 0);
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
        commit.labels_size = labels_size;
        commit.labels = labels;
        commit.into_trash = goal == Goal::Trash ? 1 : 0;
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
            trash.record = record;
            trash.forced = 1;
            co_await p_.workers.order(trash);
            worker::EmptyTrash empty;
            empty.id = record.id;
            co_await p_.workers.order(empty);
        }
        worker::DiscardStaging discard;
        discard.id = record.id;
        const WorkerReply discarded = co_await p_.workers.order(discard);
        if (discarded.ok()) {
            project_ids_.erase(record.project_id);
        }
    }
    if (slot) {
        p_.slots.give_back(*slot);
    }
    co_return result;
}

Task<std::expected<void, Failure>> Volumes::make_filesystem(worker::VolumeRecord record, Fd image, std::uint32_t slot) {
    SystemJob job{worker::mkfs_arguments(record), std::move(image), {}, slot, record.owner_uid, {}};
    auto made = co_await p_.jobs.run_system_job(std::move(job));
    if (!made && made.error().step == Step::None) {
        made.error().step = Step::MakeFilesystem;
    }
    co_return made;
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
    std::size_t labels = 0;
    for (const Volume* volume : volumes) {
        if (out.reply.count == out.volumes.size() || volume->labels.size() > out.labels.size() - labels) {
            out.reply.flags |= protocol::kReplyMore;
            break;
        }
        std::ranges::copy(volume->labels, out.labels.begin() + static_cast<std::ptrdiff_t>(labels));
        labels += volume->labels.size();
        out.volumes[out.reply.count++] = entry_of(*volume);
    }
    return out;
}

void Volumes::loaded(const worker::LoadedVolume& loaded) {
    const VolumeId id = loaded.record.id;
    const bool trashed = loaded.status == protocol::VolumeStatus::Trashed;
    if (loaded.record.project_id != 0) {
        project_ids_.insert(loaded.record.project_id);
    }
    if (trashed && loaded.record.trashed_until_ns == 0) {
        to_empty_.emplace(id, loaded.record);
        return;
    }
    if (loaded.record.magic != worker::kVolumeRecordMagic) {
        // Without a record there is neither owner nor name: nobody can use it, and it is not touched
        log::error(fmt::format("volume {} has no record that this version can read; it is left as it is", to_string(id)));
        return;
    }
    Volume volume;
    volume.record = loaded.record;
    volume.trashed = trashed;
    if (!trashed && volume.record.trashed_until_ns != 0) { // was restored, and not written since
        volume.record.trashed_until_ns = 0;
        volume.record_is_stale = true;
    }
    volume.no_swap = keeps_out_of_swap(volume.record);
    volume.quarantined = loaded.status == protocol::VolumeStatus::Quarantined;
    volume.labels.assign(reinterpret_cast<const char*>(loaded.labels.data()),
                         std::min<std::size_t>(loaded.labels_size, loaded.labels.size()));
    if (!p_.registry.insert(std::move(volume))) {
        log::error(fmt::format("volume {} has a name that another volume of its owner has; it is left as it is", to_string(id)));
    }
}

Task<std::expected<void, Failure>> Volumes::load() {
    const WorkerReply reply = co_await p_.workers.order(worker::LoadVolumes{}, {}, [this](std::span<const std::byte> bytes) {
        worker::VolumesLoaded part;
        if (bytes.size() != sizeof part) {
            return;
        }
        std::memcpy(&part, bytes.data(), sizeof part);
        p_.host.btrfs_errno = part.btrfs_errno;
        p_.host.quota_errno = part.quota_errno;
        p_.host.store_magic = part.store_magic;
        p_.host.flags = part.flags;
        p_.host.devices = part.devices;
        p_.host.device_count = static_cast<std::uint32_t>(std::min<std::size_t>(part.device_count, part.devices.size()));
        for (const auto& one : std::span(part.volumes).first(std::min<std::size_t>(part.answer.count, part.volumes.size()))) {
            loaded(one);
        }
    });
    if (!reply.ok()) {
        co_return std::unexpected(reply.failure());
    }
    co_return std::expected<void, Failure>();
}

} // namespace joblet::broker
