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

bool is_same(const protocol::CreateVolume& request, const worker::VolumeRecord& record) {
    return request.type == record.type && request.size_bytes == record.size_bytes && request.inodes == record.inodes &&
           (request.backend == Backend::Auto || request.backend == record.backend);
}

} // namespace

std::expected<Backend, protocol::Reply> Volumes::choose_backend(const protocol::CreateVolume& request) const {
    if (request.type == VolumeType::Memory) {
        return Backend::Tmpfs;
    }
    const bool said = request.backend == Backend::Btrfs || (request.backend == Backend::Auto && p_.config.backend == StoreBackend::Btrfs);
    if (said && btrfs_errno_ != 0) {
        const Step missing = btrfs_errno_ == ENOTCONN ? Step::LimitSubvolume : Step::MakeSubvolume;
        return std::unexpected(refusal(Failure{ErrorCode::Unsupported, missing, btrfs_errno_}));
    }
    if (said && request.inodes != 0) { // a qgroup counts bytes alone
        return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::LimitSubvolume, 0}));
    }
    const bool best =
        request.backend == Backend::Auto && p_.config.backend == StoreBackend::Auto && btrfs_errno_ == 0 && request.inodes == 0;
    return said || best ? Backend::Btrfs : Backend::Image;
}

std::expected<worker::VolumeRecord, protocol::Reply> Volumes::admit(const protocol::CreateVolume& request, std::uint32_t uid) {
    const UserLimits& limits = p_.config.limits_of(uid);
    if (request.size_bytes > limits.largest_volume) {
        return std::unexpected(limit_refusal(protocol::LimitKind::VolumeSize, limits.largest_volume, 0, request.size_bytes));
    }
    const auto backend = choose_backend(request);
    if (!backend) {
        return std::unexpected(backend.error());
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
    record.backend = *backend;
    if (record.backend == Backend::Image) {
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
    const auto admitted = admit(request, uid);
    if (!admitted) {
        co_return admitted.error();
    }
    const worker::VolumeRecord record = *admitted;

    const NameHold held(*this, key);
    p_.registry.reserve(uid, record.size_bytes);
    const auto built = co_await build(record, request.labels, request.labels_size);
    p_.registry.unreserve(uid, record.size_bytes);
    if (built) {
        Volume volume;
        volume.record = record;
        volume.labels.assign(reinterpret_cast<const char*>(request.labels.data()), request.labels_size);
        p_.registry.insert(std::move(volume));
        p_.news.volume_changed(*p_.registry.find(record.id));
    }
    if (!built) {
        co_return refusal(built.error());
    }
    protocol::Reply reply;
    reply.volume = record.id;
    co_return reply;
}

Task<std::expected<void, Failure>> Volumes::build(worker::VolumeRecord record, worker::Labels labels, std::uint32_t labels_size) {
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
        commit.labels_size = labels_size;
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
            trash.record = record;
            trash.forced = 1;
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
    SystemJob job{worker::mkfs_arguments(record), std::move(image), slot, {}};
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
        btrfs_errno_ = part.btrfs_errno;
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
