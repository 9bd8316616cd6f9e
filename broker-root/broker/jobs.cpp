#include "broker-root/broker/jobs.h"

#include <signal.h>

#include <algorithm>

#include "broker-root/broker/clock.h"
#include "broker-root/kernel/cgroup.h"
#include "shared/datagram.h"

namespace joblet::broker {

namespace {

constexpr std::size_t kHostNameDigits = 12; // as container engines show ids

protocol::JobEntry entry_of(const Job& job) {
    protocol::JobEntry entry;
    entry.id = job.record.id;
    entry.started_ns = job.record.started_ns;
    entry.exit = job.exit;
    entry.owner_uid = job.record.owner_uid;
    entry.state = job.state;
    entry.volume_count = static_cast<std::uint32_t>(job.volumes.size());
    std::ranges::transform(job.volumes, entry.volumes.begin(), &AttachedVolume::id);
    return entry;
}

bool may_manage(const Job& job, const Client& client, protocol::Authority authority) {
    return job.record.owner_uid == client.uid || (authority == protocol::Authority::Admin && client.admin);
}

} // namespace

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
    if (volume->quarantined) {
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
        return std::unexpected(*refused);
    }
    const auto most = p_.config.limits_of(uid).running_jobs;
    if (const auto alive = alive_of(uid); alive >= most) {
        return std::unexpected(limit_refusal(protocol::LimitKind::JobsPerUser, most, alive, 1));
    }
    return std::nullopt;
}

Task<protocol::Reply> Jobs::start(protocol::StartJob request, std::uint32_t uid, std::vector<Fd> descriptors) {
    if (!p_.config.bases.contains(request.base.string())) {
        co_return refusal(Failure{ErrorCode::NotFound, Step::BuildTemplate, 0});
    }
    for (;;) {
        const auto admitted = admit(request, uid);
        if (!admitted) {
            co_return admitted.error();
        }
        if (!*admitted) {
            break;
        }
        const Gate later = **admitted;
        co_await later;
    }
    const auto slot = p_.slots.take();
    if (!slot) {
        co_return limit_refusal(protocol::LimitKind::Slots, p_.slots.count(), p_.slots.used(), 1);
    }

    auto job = std::make_shared<Job>(p_.loop);
    job->record = make_job_record(uid, *slot, worker::JobKind::User);
    const JobId id = job->record.id;
    Plan plan;
    plan.base = request.base;
    plan.host_name = request.host_name.empty() ? NameText(to_string(id).substr(0, kHostNameDigits)) : request.host_name;
    for (const auto& wanted : std::span(request.volumes).first(request.volume_count)) {
        const std::size_t index = job->volumes.size();
        const worker::VolumeRecord& record = p_.registry.find(wanted.id)->record;
        plan.volumes.push_back({wanted.id, record.name, wanted.target, record.size_bytes, record.inodes, record.backend, wanted.access});
        job->record.volumes[index] = wanted.id;
        job->record.access[index] = wanted.access;
        job->record.targets[index] = wanted.target;
        job->volumes.push_back({wanted.id, wanted.access});
        p_.registry.attach(wanted.id, {id, wanted.access});
    }
    job->record.volume_count = request.volume_count;
    plan.record = job->record;
    plan.control = std::move(descriptors[protocol::kControl]);
    plan.spec = std::move(descriptors[protocol::kSpec]);
    jobs_.emplace(id, job);

    const auto launched = co_await launch(job, std::move(plan));
    if (!launched) {
        jobs_.erase(id);
        for (const auto& volume : job->volumes) {
            p_.registry.detach(volume.id, id);
        }
        p_.slots.give_back(*slot);
        job->underway.open();
        job->settled.open();
        co_return refusal(launched.error());
    }
    for (const auto& attached : job->volumes) {
        if (Volume* volume = p_.registry.find(attached.id)) {
            volume->record.last_used_ns = job->record.started_ns;
            volume->record_is_stale = true;
            p_.news.volume_changed(*volume);
        }
    }
    tell(*job);
    protocol::Reply reply;
    reply.job = id;
    co_return reply;
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

protocol::Reply Jobs::release(const protocol::ReleaseJob& request, const Client* client) {
    const auto found = jobs_.find(request.id);
    if (found == jobs_.end() || found->second->is_system() ||
        (client != nullptr && !may_manage(*found->second, *client, request.authority))) {
        return refusal(ErrorCode::NotFound);
    }
    if (std::ranges::find(ended_, request.id) == ended_.end()) {
        auto reply = refusal(ErrorCode::InUse);
        reply.job = request.id;
        return reply;
    }
    std::erase(ended_, request.id);
    jobs_.erase(found);
    return {};
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
