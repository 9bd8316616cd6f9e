// How much a volume may hold and how much it does: both are asked of the kernel, by a worker.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "broker-root/broker/volumes.h"
#include "broker-root/worker/image_geometry.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

using protocol::Backend;
using protocol::LimitKind;

protocol::Reply about(VolumeId id, protocol::Reply reply) {
    reply.volume = id;
    return reply;
}

std::uint64_t soft_limit(std::uint64_t asked, std::uint64_t now) {
    return asked == protocol::kNoSoftLimit ? 0 : asked != 0 ? asked : now;
}

// What stands against a smaller limit.
protocol::Reply too_small(const worker::VolumeRecord& after, const protocol::Usage& usage) {
    if (usage.bytes <= after.size_bytes && after.inodes != 0 && usage.inodes > after.inodes) {
        return limit_refusal(LimitKind::VolumeUsage, after.inodes, usage.inodes, after.inodes);
    }
    return limit_refusal(LimitKind::VolumeUsage, after.size_bytes, usage.bytes, after.size_bytes);
}

bool has_same_limits(const worker::VolumeRecord& a, const worker::VolumeRecord& b) {
    return a.size_bytes == b.size_bytes && a.inodes == b.inodes && a.soft_size_bytes == b.soft_size_bytes && a.soft_inodes == b.soft_inodes;
}

} // namespace

Task<Fd> Volumes::mounts_of_holder(VolumeId id) {
    const Volume* volume = p_.registry.find(id);
    if (volume == nullptr || volume->holders.empty()) {
        co_return Fd();
    }
    const JobId holder = volume->holders.front().job;
    co_await p_.jobs.settle_start(holder);
    co_return p_.jobs.mounts_of(holder);
}

Task<std::expected<protocol::Usage, Failure>> Volumes::usage_of(worker::VolumeRecord record, bool in_trash) {
    worker::MeasureVolume order;
    order.record = record;
    order.in_trash = in_trash ? 1 : 0;
    std::vector<Fd> descriptors;
    if (Fd mounts = co_await mounts_of_holder(record.id); mounts.valid()) {
        descriptors.push_back(std::move(mounts));
    }
    worker::VolumeMeasured measured;
    const WorkerReply reply = co_await p_.workers.order(order, std::move(descriptors), whole_answer(measured));
    if (!reply.ok()) {
        co_return std::unexpected(reply.failure());
    }
    if (measured.answer.type != worker::OrderType::MeasureVolume) {
        co_return std::unexpected(Failure{ErrorCode::Internal, Step::MeasureVolume, 0});
    }
    co_return measured.usage;
}

Task<protocol::VolumeMeasure> Volumes::measure(protocol::MeasureVolume request, Client client) {
    protocol::VolumeMeasure out;
    // Nobody moves it meanwhile; jobs come and go
    const auto change = co_await begin(request.id, client, request.authority, Moves::No);
    if (!change) {
        out.reply = change.error();
        co_return out;
    }
    const Volume& volume = (*change)->volume();
    if (volume.is_quarantined()) {
        out.reply = about(request.id, refusal(ErrorCode::Quarantined));
        co_return out;
    }
    const auto usage = co_await usage_of(volume.record, volume.trashed);
    if (usage) {
        out.usage = *usage;
    } else {
        out.reply = refusal(usage.error());
    }
    out.reply.volume = request.id;
    co_return out;
}

std::expected<worker::VolumeRecord, protocol::Reply> Volumes::resized(const Volume& volume, const protocol::ResizeVolume& request) const {
    worker::VolumeRecord after = volume.record;
    after.size_bytes = request.size_bytes != 0 ? request.size_bytes : after.size_bytes;
    after.inodes = request.inodes != 0 ? request.inodes : after.inodes;
    after.soft_size_bytes = soft_limit(request.soft_size_bytes, after.soft_size_bytes);
    after.soft_inodes = soft_limit(request.soft_inodes, after.soft_inodes);
    ++after.generation;
    const bool is_consistent = after.inodes <= after.size_bytes / protocol::kBytesPerInodeMin && after.soft_size_bytes < after.size_bytes &&
                               (after.inodes == 0 || after.soft_inodes == 0 || after.soft_inodes < after.inodes);
    if (!is_consistent) {
        return std::unexpected(refusal(Failure{ErrorCode::InvalidArgument, Step::ResizeVolume, 0}));
    }
    if ((after.soft_size_bytes != 0 || after.soft_inodes != 0) && after.backend != Backend::ProjectQuota) {
        return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::SetQuota, 0}));
    }
    if (after.inodes != volume.record.inodes && after.backend != Backend::ProjectQuota && after.backend != Backend::Tmpfs) {
        // A qgroup counts none, and how many an ext4 has was said when it was made
        return std::unexpected(
            refusal(Failure{ErrorCode::Unsupported, after.backend == Backend::Btrfs ? Step::LimitSubvolume : Step::ResizeFilesystem, 0}));
    }
    if (after.backend == Backend::Image && after.size_bytes != volume.record.size_bytes) {
        after.image_bytes = worker::resized_image_bytes_for(after.size_bytes, after.inodes);
        if (after.image_bytes == 0) {
            return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::MakeImage, 0}));
        }
        if (after.size_bytes > volume.record.size_bytes) { // one that was smaller once may be longer than it need be
            after.image_bytes = std::max(after.image_bytes, volume.record.image_bytes);
        }
    }
    return after;
}

Task<protocol::Reply> Volumes::resize(protocol::ResizeVolume request, Client client) {
    const VolumeId id = request.id;
    const auto change = co_await begin(id, client, protocol::Authority::User, Moves::Yes);
    if (!change) {
        co_return change.error();
    }
    Volume& volume = (*change)->volume();
    co_await let_go_of_ended(volume);
    if (volume.trashed || volume.is_quarantined()) {
        co_return about(id, refusal(volume.trashed ? ErrorCode::NotFound : ErrorCode::Quarantined));
    }
    const auto planned = resized(volume, request);
    if (!planned) {
        co_return about(id, planned.error());
    }
    worker::VolumeRecord after = *planned;
    if (has_same_limits(after, volume.record)) {
        co_return about(id, {});
    }
    const std::uint32_t owner = after.owner_uid;
    const std::uint64_t before_bytes = volume.record.size_bytes;
    const std::uint64_t more = after.size_bytes > before_bytes ? after.size_bytes - before_bytes : 0;
    const UserLimits& limits = p_.config.limits_of(owner);
    if (more != 0 && after.size_bytes > limits.largest_volume) {
        co_return about(id, limit_refusal(LimitKind::VolumeSize, limits.largest_volume, 0, after.size_bytes));
    }
    const Usage charged = p_.registry.usage(owner);
    if (more != 0 && (charged.bytes > limits.total_bytes || more > limits.total_bytes - charged.bytes)) {
        co_return about(id, limit_refusal(LimitKind::BytesPerUser, limits.total_bytes, charged.bytes, more));
    }
    // Memory is promised to a job that has it
    const std::uint64_t promised = after.type == protocol::VolumeType::Memory && !volume.holders.empty() ? more : 0;
    if (const auto refused = p_.jobs.refuse_memory(promised, owner)) {
        co_return about(id, *refused);
    }
    p_.registry.charge(owner, more);
    p_.registry.hold_memory(owner, promised);
    const bool has_image_to_replace = after.backend == Backend::Image && volume.holders.empty();
    std::expected<void, protocol::Reply> done; // not with ?:, of which g++ 12 can carry out the operand that is not chosen, too
    if (has_image_to_replace) {
        done = co_await replace_image(volume, after);
    } else {
        done = co_await set_limits(volume, after);
    }
    if (!done) {
        p_.registry.discharge(owner, more);
        p_.registry.release_memory(owner, promised);
        p_.news.volume_changed(volume); // it may be in quarantine now
        co_return about(id, done.error());
    }
    after.last_used_ns = volume.record.last_used_ns;
    volume.record = after;
    if (after.size_bytes < before_bytes) {
        p_.registry.discharge(owner, before_bytes - after.size_bytes);
        if (after.type == protocol::VolumeType::Memory && !volume.holders.empty()) {
            p_.registry.release_memory(owner, before_bytes - after.size_bytes);
        }
    }
    p_.news.volume_changed(volume);
    co_return about(id, {});
}

Task<std::expected<void, protocol::Reply>> Volumes::set_limits(Volume& volume, worker::VolumeRecord after) {
    const bool is_image = after.backend == Backend::Image;
    if (is_image && after.size_bytes < volume.record.size_bytes) { // nothing shrinks an ext4 that is mounted
        auto reply = refusal(ErrorCode::InUse);
        reply.job = volume.holders.front().job;
        co_return std::unexpected(reply);
    }
    if (is_image && (p_.host.flags & protocol::kHostOnlineGrow) == 0) {
        co_return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::ResizeVolume, EPERM}));
    }
    worker::ResizeVolume order;
    order.record = after;
    std::vector<Fd> descriptors;
    const bool is_attached = !volume.holders.empty();
    if (Fd mounts = co_await mounts_of_holder(after.id); mounts.valid()) {
        descriptors.push_back(std::move(mounts));
    } else if (is_attached && !volume.holders.empty() && (is_image || after.backend == Backend::Tmpfs)) {
        // What the job has mounted cannot be reached; what a quota holds needs no mount
        co_return std::unexpected(refusal(Failure{ErrorCode::InUse, Step::ResizeVolume, 0}));
    }
    worker::VolumeMeasured measured;
    const WorkerReply reply = co_await p_.workers.order(order, std::move(descriptors), whole_answer(measured));
    volume.quarantined = volume.quarantined || reply.lost; // nobody knows which limit it has
    if (reply.ok()) {
        co_return std::expected<void, protocol::Reply>();
    }
    if (reply.answer.code == ErrorCode::LimitExceeded) {
        co_return std::unexpected(too_small(after, measured.usage));
    }
    co_return std::unexpected(refusal(reply.failure()));
}

Task<std::expected<void, protocol::Reply>> Volumes::replace_image(Volume& volume, worker::VolumeRecord after) {
    if (after.size_bytes < volume.record.size_bytes) {
        const auto usage = co_await usage_of(volume.record, false);
        if (!usage) {
            co_return std::unexpected(refusal(usage.error()));
        }
        if (usage->bytes > after.size_bytes) {
            co_return std::unexpected(too_small(after, *usage));
        }
    }
    const auto slot = p_.slots.take();
    if (!slot) {
        co_return std::unexpected(refusal(Failure{ErrorCode::Unavailable, Step::MakeSlot, 0}));
    }
    auto done = co_await resize_copy(volume.record, after, *slot);
    p_.slots.give_back(*slot);
    if (done) {
        worker::CommitResize commit;
        commit.record = after;
        const WorkerReply committed = co_await p_.workers.order(commit);
        volume.quarantined = volume.quarantined || committed.lost;
        if (committed.ok()) {
            co_return std::expected<void, protocol::Reply>();
        }
        done = std::unexpected(committed.failure());
    }
    worker::DiscardStaging discard;
    discard.id = after.id;
    co_await p_.workers.order(discard);
    co_return std::unexpected(refusal(done.error()));
}

Task<std::expected<void, Failure>> Volumes::resize_copy(worker::VolumeRecord before, worker::VolumeRecord after, std::uint32_t slot) {
    worker::StageVolume stage_order;
    stage_order.record = after;
    stage_order.slot_first = p_.slots.first_uid(slot);
    stage_order.image_is_larger = 1;
    WorkerReply staged = co_await p_.workers.order(stage_order);
    if (!staged.ok() || staged.descriptors.size() != 1) {
        co_return std::unexpected(staged.ok() ? Failure{ErrorCode::Internal, Step::MakeImage, 0} : staged.failure());
    }
    worker::OpenImage open;
    open.record = before;
    WorkerReply opened = co_await p_.workers.order(open);
    if (!opened.ok() || opened.descriptors.size() != 1) {
        co_return std::unexpected(opened.ok() ? Failure{ErrorCode::Internal, Step::OpenVolume, 0} : opened.failure());
    }
    Fd output(::fcntl(staged.descriptors.front().get(), F_DUPFD_CLOEXEC, 0));
    SystemJob copy{worker::copy_arguments(), std::move(opened.descriptors.front()), std::move(output), slot, after.owner_uid, {}};
    const auto copied = co_await p_.jobs.run_system_job(std::move(copy));
    if (!copied) {
        co_return std::unexpected(Failure{copied.error().code, Step::CopyImage, copied.error().sys_errno});
    }
    SystemJob fit{worker::resize_arguments(after), std::move(staged.descriptors.front()), {}, slot, after.owner_uid, {}};
    const auto end = co_await p_.jobs.try_system_job(std::move(fit));
    if (!end) {
        co_return std::unexpected(end.error());
    }
    if (end->exit.kind != ExitKind::Exited || end->exit.code != 0) {
        // The file system says no: what is in it does not fit, with what it needs for itself
        log::warning(
            fmt::format("the image of volume {} cannot be made {} bytes long: {}", to_string(after.id), after.image_bytes, end->said));
        co_return std::unexpected(Failure{ErrorCode::Unsupported, Step::ResizeFilesystem, 0});
    }
    co_return std::expected<void, Failure>();
}

} // namespace joblet::broker
