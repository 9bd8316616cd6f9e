// Volumes that come to a running job, or leave it. The job's record is written first and what it says is what the job is taken
// to have: after a crash nobody else gets what the job may have. One change of a job at a time; its end waits for it.
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "broker-root/broker/clock.h"
#include "broker-root/broker/job_limits.h"
#include "broker-root/broker/jobs.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

Fd duplicate(int fd) {
    return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

void add(worker::JobRecord& record, VolumeId id, protocol::Access access) {
    record.volumes[record.volume_count] = id;
    record.access[record.volume_count] = access;
    record.targets[record.volume_count] = {};
    ++record.volume_count;
}

// The target it had. Precondition: it is there.
TargetText take_out(worker::JobRecord& record, VolumeId id) {
    const auto at = static_cast<std::size_t>(std::ranges::find(record.volumes, id) - record.volumes.begin());
    const TargetText target = record.targets[at];
    const std::size_t last = --record.volume_count;
    for (std::size_t i = at; i < last; ++i) {
        record.volumes[i] = record.volumes[i + 1];
        record.access[i] = record.access[i + 1];
        record.targets[i] = record.targets[i + 1];
    }
    record.volumes[last] = {};
    record.access[last] = {};
    record.targets[last] = {};
    return target;
}

bool has(const Job& job, VolumeId id) {
    return std::ranges::find(job.volumes, id, &AttachedVolume::id) != job.volumes.end();
}

} // namespace

// Held while a job's volumes change.
class Jobs::ChangeOfJob {
  public:
    ChangeOfJob(EventLoop& loop, JobPointer job) : job_(std::move(job)), over_(loop) {
        job_->change.emplace(over_);
    }
    ~ChangeOfJob() {
        job_->change.reset();
        over_.open();
    }
    ChangeOfJob(const ChangeOfJob&) = delete;
    ChangeOfJob& operator=(const ChangeOfJob&) = delete;

  private:
    JobPointer job_;
    Gate over_;
};

Fd Jobs::mounts_of(JobId id) const {
    const auto found = jobs_.find(id);
    return found == jobs_.end() || !found->second->mount_namespace.valid() ? Fd() : duplicate(found->second->mount_namespace.get());
}

Task<bool> Jobs::settle_start(JobId id) {
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) {
        co_return false;
    }
    const Gate underway = found->second->underway;
    co_await underway;
    co_return true;
}

JobPointer Jobs::running(JobId id, std::uint32_t uid) const {
    const auto found = jobs_.find(id);
    return found != jobs_.end() && !found->second->is_system() && found->second->record.owner_uid == uid && !found->second->finishing &&
                   found->second->exit.kind == ExitKind::None
               ? found->second
               : nullptr;
}

Task<protocol::Reply> Jobs::attach(protocol::AttachVolume request, std::uint32_t uid) {
    const auto about = [&request](protocol::Reply reply) {
        reply.volume = request.id;
        reply.job = request.job;
        return reply;
    };
    JobPointer job;
    for (;;) {
        job = running(request.job, uid);
        if (!job) {
            auto reply = refusal(ErrorCode::NotFound);
            reply.job = request.job;
            co_return reply;
        }
        if (!job->underway.await_ready()) {
            const Gate underway = job->underway;
            co_await underway;
            continue;
        }
        if (job->change) {
            const Gate over = *job->change;
            co_await over;
            continue;
        }
        if (has(*job, request.id)) {
            co_return about(refusal(ErrorCode::Conflict));
        }
        const auto admitted = admit_volume(request.id, request.access, uid);
        if (!admitted) {
            co_return admitted.error();
        }
        if (!*admitted) {
            break;
        }
        const Gate later = **admitted;
        co_await later;
    }
    Volume& volume = *p_.registry.find(request.id);
    const bool is_memory = volume.record.type == protocol::VolumeType::Memory;
    if (const auto refused = refuse_memory(is_memory ? volume.record.size_bytes : 0, uid)) {
        co_return about(*refused);
    }
    if (job->volumes.size() == protocol::kJobVolumesMax) {
        co_return about(limit_refusal(protocol::LimitKind::VolumesPerJob, protocol::kJobVolumesMax, job->volumes.size(), 1));
    }
    if (!job->mount_namespace.valid()) {
        co_return about(refusal(Failure{ErrorCode::Unsupported, Step::AttachVolume, 0}));
    }

    const bool on_disk = volume.record.type == protocol::VolumeType::Filesystem;
    protocol::JobLimits limits = job->record.limits;
    limits.io = on_disk ? filled(limits.io, volume.record.io) : limits.io;
    if (on_disk && limits.io != protocol::IoLimits{}) {
        if (const auto possible = can_hold_io(p_.host); !possible) {
            co_return about(refusal(possible.error()));
        }
    }
    if (on_disk) {
        add_devices(limits, p_.host.store_devices());
    }

    const ChangeOfJob change(p_.loop, job);
    worker::AttachVolume order;
    order.record = job->record;
    order.record.limits = limits;
    add(order.record, request.id, request.access);
    order.volume = {request.id,    volume.record.name, {}, volume.record.size_bytes, volume.record.inodes, volume.record.backend,
                    request.access};
    order.slot_first = p_.slots.first_uid(job->record.slot);
    // Both are the job's from now on: whatever happens below, nobody else is given the volume
    p_.registry.attach(request.id, {request.job, request.access});
    job->volumes.push_back({request.id, request.access});
    const worker::JobRecord before = std::exchange(job->record, order.record);
    std::expected<void, Failure> result;
    const auto namespaces = co_await p_.slots.namespaces(before.slot);
    if (namespaces) {
        std::vector<Fd> descriptors;
        descriptors.push_back(duplicate(namespaces->volume));
        descriptors.push_back(duplicate(job->mount_namespace.get()));
        worker::Mounted mounted;
        const WorkerReply attached = co_await p_.workers.order(order, std::move(descriptors), whole_answer(mounted));
        if (attached.ok()) {
            add_devices(job->record.limits,
                        std::span(mounted.devices).first(std::min<std::size_t>(mounted.device_count, mounted.devices.size())));
            // Another disk, or the first limit: what the job does until it is held is not much
            if (on_disk) {
                result = hold_io_limits(job->cgroup.get(), job->record.limits);
            }
            if (!result) {
                co_await unmount_from(job, request.id);
            }
        } else {
            result = std::unexpected(attached.failure());
        }
        if (attached.lost) {
            // It may be there: the job keeps it until it ends or it is detached
            co_return about(refusal(result.error()));
        }
    } else {
        result = std::unexpected(namespaces.error());
    }
    if (!result) {
        job->record = before;
        job->volumes.pop_back();
        p_.registry.detach(request.id, request.job);
        co_return about(refusal(result.error()));
    }
    volume.record.last_used_ns = std::max(volume.record.last_used_ns, realtime_ns());
    volume.record_is_stale = true;
    p_.news.volume_changed(volume);
    tell(*job);
    co_return about({});
}

Task<protocol::Reply> Jobs::detach(protocol::DetachVolume request, std::uint32_t uid) {
    protocol::Reply reply;
    const JobPointer job = running(request.job, uid);
    if (!job) {
        reply = refusal(ErrorCode::NotFound);
        reply.job = request.job;
        co_return reply;
    }
    if (has(*job, request.id)) {
        const auto taken = co_await take_away(request.job, request.id);
        reply = taken ? protocol::Reply{} : refusal(taken.error());
        reply.job = request.job;
    } else {
        reply = refusal(ErrorCode::NotFound);
    }
    reply.volume = request.id;
    co_return reply;
}

Task<std::expected<void, Failure>> Jobs::unmount_from(JobPointer job, VolumeId volume_id) {
    const Volume& volume = *p_.registry.find(volume_id);
    const bool is_memory = volume.record.type == protocol::VolumeType::Memory;
    worker::DetachVolume order;
    order.record = job->record;
    order.name = volume.record.name;
    order.target = take_out(order.record, volume_id);
    order.record.detached_memory += is_memory ? volume.record.size_bytes : 0;
    std::vector<Fd> descriptors;
    descriptors.push_back(duplicate(job->mount_namespace.get()));
    const WorkerReply detached = co_await p_.workers.order(order, std::move(descriptors));
    if (!detached.ok()) {
        co_return std::unexpected(detached.failure());
    }
    job->record = order.record;
    co_return std::expected<void, Failure>();
}

Task<std::expected<void, Failure>> Jobs::take_away(JobId id, VolumeId volume_id) {
    JobPointer job;
    for (;;) {
        const auto found = jobs_.find(id);
        if (found == jobs_.end() || !has(*found->second, volume_id)) {
            co_return std::expected<void, Failure>();
        }
        job = found->second;
        if (job->finishing) {
            if (job->settled.await_ready()) { // and it still has it: a process of it does not end
                co_return std::unexpected(Failure{ErrorCode::InUse, Step::DetachVolume, 0});
            }
            const Gate settled = job->settled;
            co_await settled;
            continue;
        }
        if (!job->underway.await_ready()) {
            const Gate underway = job->underway;
            co_await underway;
            continue;
        }
        if (!job->change) {
            break;
        }
        const Gate over = *job->change;
        co_await over;
    }
    if (!job->mount_namespace.valid()) {
        // jobletd was started anew since the job began: nothing but the job holds its namespace any more
        co_return std::unexpected(Failure{ErrorCode::InUse, Step::DetachVolume, 0});
    }
    const ChangeOfJob change(p_.loop, job);
    const Volume& volume = *p_.registry.find(volume_id);
    const bool is_memory = volume.record.type == protocol::VolumeType::Memory;
    const auto unmounted = co_await unmount_from(job, volume_id);
    if (!unmounted) {
        co_return unmounted;
    }
    std::erase_if(job->volumes, [&volume_id](const AttachedVolume& attached) { return attached.id == volume_id; });
    p_.registry.detach(volume_id, id);
    if (is_memory) {
        p_.registry.hold_memory(volume.record.owner_uid, volume.record.size_bytes); // what the job has open stays where it is
    }
    p_.news.volume_changed(volume);
    tell(*job);
    co_return std::expected<void, Failure>();
}

} // namespace joblet::broker
