#include "broker-root/broker/jobs.h"

#include <signal.h>

#include <algorithm>

#include <fmt/format.h>

#include "broker-root/broker/clock.h"
#include "broker-root/broker/job_limits.h"
#include "broker-root/kernel/cgroup.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/layout.h"
#include "shared/datagram.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

bool may_manage(const Job& job, const Client& client, protocol::Authority authority) {
    return job.record.owner_uid == client.uid || (authority == protocol::Authority::Admin && client.admin);
}

} // namespace

protocol::JobEntry entry_of(const Job& job) {
    protocol::JobEntry entry;
    entry.id = job.record.id;
    entry.started_ns = job.record.started_ns;
    // Known as soon as the stage has reported it; the job has ended when its volumes are free
    entry.exit = job.state == protocol::JobState::Ended ? job.exit : ExitRecord{};
    entry.owner_uid = job.record.owner_uid;
    entry.state = job.state;
    entry.volume_count = static_cast<std::uint32_t>(job.volumes.size());
    std::ranges::transform(job.volumes, entry.volumes.begin(), &AttachedVolume::id);
    entry.limits = job.record.limits;
    return entry;
}

worker::JobRecord make_job_record(std::uint32_t owner, std::uint32_t slot, worker::JobKind kind) {
    worker::JobRecord record;
    record.magic = worker::kJobRecordMagic;
    record.version = worker::kJobRecordVersion;
    record.size = sizeof record;
    record.id = make_random_id<JobId>();
    record.started_ns = realtime_ns();
    record.owner_uid = owner;
    record.slot = slot;
    record.kind = static_cast<std::uint32_t>(kind);
    return record;
}

std::uint64_t Jobs::alive_of(std::uint32_t uid) const {
    return static_cast<std::uint64_t>(std::ranges::count_if(jobs_, [uid](const auto& entry) {
        const Job& job = *entry.second;
        return job.record.owner_uid == uid && !job.is_system() && job.state != protocol::JobState::Ended;
    }));
}

JobPointer Jobs::ending(JobId id) {
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) {
        return nullptr;
    }
    read_status(found->second); // its last word may be waiting in the socket
    return found->second->finishing || found->second->exit.kind != ExitKind::None ? found->second : nullptr;
}

// Memory is promised when a volume is attached, not when it is created: until then it holds none.
std::optional<protocol::Reply> Jobs::refuse_memory(std::uint64_t asked, std::uint32_t uid) const {
    const auto beyond = [asked](std::uint64_t limit, std::uint64_t used) { return asked != 0 && (used > limit || asked > limit - used); };
    const std::uint64_t own_limit = p_.config.limits_of(uid).attached_memory;
    if (const auto own = p_.registry.attached_memory(uid); beyond(own_limit, own)) {
        return limit_refusal(protocol::LimitKind::AttachedMemoryPerUser, own_limit, own, asked);
    }
    if (const auto all = p_.registry.attached_memory(); beyond(p_.config.memory_budget, all)) {
        return limit_refusal(protocol::LimitKind::AttachedMemoryOfHost, p_.config.memory_budget, all, asked);
    }
    return std::nullopt;
}

// What jobs hold that are over, but not yet cleared away, is free in a moment.
std::optional<Gate> Jobs::memory_to_come() {
    for (const auto& [id, job] : jobs_) {
        const bool has_memory =
            job->record.detached_memory != 0 || std::ranges::any_of(job->volumes, [this](const AttachedVolume& attached) {
                const Volume* volume = p_.registry.find(attached.id);
                return volume != nullptr && volume->record.type == protocol::VolumeType::Memory;
            });
        if (has_memory && ending(id) && !job->settled.await_ready()) {
            return job->settled;
        }
    }
    return std::nullopt;
}

std::expected<std::optional<Gate>, protocol::Reply> Jobs::admit_volume(VolumeId id, protocol::Access access, std::uint32_t uid) {
    const auto refused = [id](ErrorCode code) {
        auto reply = refusal(code);
        reply.volume = id;
        return std::unexpected(reply);
    };
    const Volume* volume = p_.registry.find(id);
    // Another's volume does not exist for this user, whoever he is: no admin runs a job on it
    if (volume == nullptr || volume->record.owner_uid != uid || volume->trashed) {
        return refused(ErrorCode::NotFound);
    }
    if (volume->change && volume->change->moves) {
        return volume->change->over;
    }
    if (volume->is_quarantined()) {
        return refused(ErrorCode::Quarantined);
    }
    const auto holder = Registry::conflict(*volume, access);
    if (!holder) {
        return std::nullopt;
    }
    if (const auto job = ending(*holder); job && !job->settled.await_ready()) {
        return job->settled;
    }
    auto reply = refused(ErrorCode::InUse);
    reply.error().job = *holder;
    return reply;
}

std::expected<std::optional<Gate>, protocol::Reply> Jobs::admit(const protocol::StartJob& request, std::uint32_t uid) {
    std::uint64_t memory = 0;
    for (const auto& wanted : std::span(request.volumes).first(request.volume_count)) {
        auto admitted = admit_volume(wanted.id, wanted.access, uid);
        if (!admitted || *admitted) {
            return admitted;
        }
        const worker::VolumeRecord& record = p_.registry.find(wanted.id)->record;
        memory += record.type == protocol::VolumeType::Memory ? record.size_bytes : 0;
    }
    if (const auto refused = refuse_memory(memory, uid)) {
        if (auto later = memory_to_come()) {
            return later;
        }
        return std::unexpected(*refused);
    }
    const auto most = p_.config.limits_of(uid).running_jobs;
    if (const auto alive = alive_of(uid); alive >= most) {
        return std::unexpected(limit_refusal(protocol::LimitKind::JobsPerUser, most, alive, 1));
    }
    return std::nullopt;
}

std::expected<protocol::JobLimits, protocol::Reply> Jobs::limits_of(const protocol::StartJob& request) {
    protocol::IoLimits io;
    bool on_disk = false;
    for (const auto& wanted : std::span(request.volumes).first(request.volume_count)) {
        const worker::VolumeRecord& record = p_.registry.find(wanted.id)->record;
        io = lowest(io, record.io);
        on_disk = on_disk || record.type == protocol::VolumeType::Filesystem;
    }
    return plan_limits(request, p_.config, p_.host, io, on_disk);
}

Task<protocol::JobWorld> Jobs::start(protocol::StartJob request, std::uint32_t uid, std::optional<Channel> channel) {
    const auto refused = [](const protocol::Reply& reply) {
        protocol::JobWorld world;
        world.reply = reply;
        return world;
    };
    if ((request.flags & protocol::kStartDryRun) == 0 && !channel) {
        co_return refused(refusal(Failure{ErrorCode::NotFound, Step::ReadJobSpec, 0}));
    }
    auto planned = plan_job(request, p_.config, usable_bases_);
    if (!planned) {
        co_return refused(planned.error());
    }
    for (;;) {
        const auto admitted = admit(request, uid);
        if (!admitted) {
            co_return refused(admitted.error());
        }
        if (!*admitted) {
            break;
        }
        const Gate later = **admitted;
        co_await later;
    }
    const auto limits = limits_of(request);
    if (!limits) {
        co_return refused(limits.error());
    }
    const auto slot = p_.slots.take();
    if (!slot) {
        co_return refused(limit_refusal(protocol::LimitKind::Slots, p_.slots.count(), p_.slots.used(), 1));
    }
    JobPlan plan = std::move(*planned);
    plan.record.limits = *limits;
    protocol::JobWorld world = world_of(plan, p_.config.shm_bytes, p_.slots.first_uid(*slot));
    if ((request.flags & protocol::kStartDryRun) != 0) {
        p_.slots.give_back(*slot);
        co_return world;
    }

    auto job = std::make_shared<Job>(p_.loop);
    worker::JobRecord record = make_job_record(uid, *slot, worker::JobKind::User);
    record.limits = *limits;
    record.flags = (request.flags & protocol::kStartDetached) != 0 ? worker::kJobHasLog : 0;
    const JobId id = record.id;
    name_job(plan, record, request.host_name);
    for (const auto& wanted : std::span(request.volumes).first(request.volume_count)) {
        add_volume(plan, wanted, p_.registry.find(wanted.id)->record);
        job->volumes.push_back({wanted.id, wanted.access});
        p_.registry.attach(wanted.id, {id, wanted.access});
    }
    job->record = plan.record;
    jobs_.emplace(id, job);

    const auto launched = co_await launch(job, std::move(plan), std::move(*channel));
    if (!launched) {
        jobs_.erase(id);
        for (const auto& volume : job->volumes) {
            p_.registry.detach(volume.id, id);
        }
        p_.slots.give_back(*slot);
        job->underway.open();
        job->settled.open();
        co_return refused(refusal(launched.error()));
    }
    for (const auto& attached : job->volumes) {
        if (Volume* volume = p_.registry.find(attached.id)) {
            volume->record.last_used_ns = job->record.started_ns;
            volume->record_is_stale = true;
            p_.news.volume_changed(*volume);
        }
    }
    tell(*job);
    world.limits = job->record.limits;
    world.reply.job = id;
    co_return world;
}

protocol::Reply Jobs::signal(const protocol::SignalJob& request, const Client& client) {
    const auto found = jobs_.find(request.id);
    if (found == jobs_.end() || found->second->is_system() || !may_manage(*found->second, client, request.authority)) {
        return refusal(ErrorCode::NotFound);
    }
    Job& job = *found->second;
    protocol::Reply reply;
    reply.job = request.id;
    if (job.state == protocol::JobState::Ended) {
        return reply;
    }
    if (request.signal == SIGKILL) {
        if (job.state == protocol::JobState::Starting && !job.pidfd.valid() && job.events_watch == 0) {
            job.kill_is_due = true; // nobody is there yet: launch() does it
            return reply;
        }
        if (const auto killed = kernel::kill_cgroup(job.cgroup.get()); !killed) {
            return refusal(Failure{ErrorCode::Internal, Step::None, killed.error()});
        }
        return reply;
    }
    // By way of its pid 1, who lives among the job's ids; the broker may not signal them
    const ControlRequest control{ControlKind::Signal, request.signal};
    if (!job.status.valid() || !send_message(job.status.get(), control, {}, Wait::No)) {
        return refusal(ErrorCode::Unavailable);
    }
    return reply;
}

Task<protocol::Reply> Jobs::release(protocol::ReleaseJob request, std::optional<Client> client) {
    JobPointer job;
    for (;;) {
        const auto found = jobs_.find(request.id);
        if (found == jobs_.end() || found->second->is_system() || (client && !may_manage(*found->second, *client, request.authority))) {
            co_return refusal(ErrorCode::NotFound);
        }
        job = found->second;
        if (std::ranges::find(ended_, request.id) != ended_.end()) {
            break;
        }
        if (!job->finishing || job->settled.await_ready()) {
            auto reply = refusal(ErrorCode::InUse);
            reply.job = request.id;
            co_return reply;
        }
        const Gate settled = job->settled; // it has ended, and is being cleared away
        co_await settled;
    }
    std::erase(ended_, request.id);
    jobs_.erase(request.id);
    if (job->has_log()) {
        worker::ReleaseJob order;
        order.id = request.id;
        const WorkerReply removed = co_await p_.workers.order(order);
        if (!removed.ok()) {
            co_return refusal(removed.failure());
        }
    }
    co_return protocol::Reply{};
}

Detached Jobs::remove_files(JobId id) {
    worker::ReleaseJob order;
    order.id = id;
    const WorkerReply removed = co_await p_.workers.order(order);
    if (!removed.ok()) {
        log::error(fmt::format("the log of job {} could not be removed: {}", to_string(id), step_phrase(removed.answer.step)));
    }
}

Task<ReplyWithFiles> Jobs::open_log(protocol::OpenLog request, Client client) {
    ReplyWithFiles out;
    out.reply.job = request.id;
    const auto found = jobs_.find(request.id);
    if (found == jobs_.end() || !found->second->has_log() || !may_manage(*found->second, client, request.authority)) {
        out.reply.code = ErrorCode::NotFound;
        co_return out;
    }
    if (found->second->record.owner_uid != client.uid) {
        log::info(
            fmt::format("admin {} reads the log of job {} of user {}", client.uid, to_string(request.id), found->second->record.owner_uid));
    }
    worker::OpenLog order;
    order.id = request.id;
    WorkerReply opened = co_await p_.workers.order(order);
    if (!opened.ok()) {
        out.reply = refusal(opened.failure());
    } else if (opened.descriptors.size() != protocol::kLogDescriptors) {
        out.reply = refusal(Failure{ErrorCode::Internal, Step::OpenLog, 0});
    } else {
        out.files = std::move(opened.descriptors);
    }
    out.reply.job = request.id;
    co_return out;
}

protocol::BaseList Jobs::bases() const {
    protocol::BaseList out;
    for (const auto& [name, base] : p_.config.bases) {
        out.bases[out.reply.count++] = {NameText(name), base.proc, usable_bases_.contains(name) ? 1U : 0U};
    }
    return out;
}

kernel::Result<std::vector<std::string>> Jobs::groups() const {
    const auto directory = kernel::open_directory(cgroups_.get());
    return directory ? kernel::list_directory(directory->get()) : std::unexpected(directory.error());
}

void Jobs::tell(const Job& job) const {
    if (!job.is_system()) {
        p_.news.job_changed(entry_of(job));
    }
}

protocol::JobPage Jobs::page(const protocol::ListJobs& request) const {
    protocol::JobPage out;
    for (auto at = jobs_.upper_bound(request.after); at != jobs_.end(); ++at) {
        if (at->second->is_system()) {
            continue;
        }
        if (out.reply.count == out.jobs.size()) {
            out.reply.flags |= protocol::kReplyMore;
            break;
        }
        out.jobs[out.reply.count++] = entry_of(*at->second);
    }
    return out;
}

} // namespace joblet::broker
