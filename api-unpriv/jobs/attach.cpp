// Volumes that come to a running job and go from it.
#include <algorithm>

#include <fmt/format.h>

#include "api-unpriv/jobs/manager.h"

namespace joblet::api {

Outcome<JobManager::Pair> JobManager::pair(const Caller& caller, std::string_view volume, Scope scope, std::string_view job,
                                           std::string_view doing) const {
    const auto volume_found = volumes_.own(caller, volume, scope, doing);
    if (!volume_found) {
        return std::unexpected(volume_found.error());
    }
    const auto job_found = get(caller, job, Scope{});
    if (!job_found) {
        return std::unexpected(job_found.error());
    }
    if ((*job_found)->state == protocol::JobState::Ended) {
        return std::unexpected(Refusal{{ErrorCode::NotFound, fmt::format("job {} has ended", job), "it needs a job that is running"},
                                       {{"job", to_string((*job_found)->id)}}});
    }
    const std::string name = (*volume_found)->entry.name.string();
    Subject subject{fmt::format("{} volume \"{}\"", doing, name), name, std::string(volume), false, std::string(job)};
    return Pair{*volume_found, *job_found, std::move(subject)};
}

// Carried out even if its caller is gone meanwhile.
kj::Promise<Outcome<void>> JobManager::lasting(kj::Promise<Outcome<void>> change) {
    auto forked = change.fork();
    tasks_.add(forked.addBranch().ignoreResult());
    return forked.addBranch();
}

kj::Promise<Outcome<void>> JobManager::attach(const Caller& caller, std::string_view volume, Scope scope, std::string_view job,
                                              bool read_only) {
    auto found = pair(caller, volume, scope, job, "attach");
    if (!found) {
        return Outcome<void>(std::unexpected(found.error()));
    }
    protocol::AttachVolume request;
    request.header.connection = caller.connection;
    request.id = found->volume->entry.id;
    request.job = found->job->id;
    request.access = read_only ? protocol::Access::ReadOnly : protocol::Access::ReadWrite;
    UsedVolume used{request.id, found->volume->entry.name.string(), {}, read_only};
    return lasting(broker_.request(request).then([this, id = request.job, used = std::move(used), subject = std::move(found->subject)](
                                                     const protocol::Message& message) mutable -> kj::Promise<Outcome<void>> {
        const protocol::Reply& reply = reply_of(message);
        if (reply.code != ErrorCode::Ok) {
            if (reply.code == ErrorCode::InUse) {
                subject.jobs = table_.holding(used.id);
            }
            return Outcome<void>(std::unexpected(refusal_from(reply, subject)));
        }
        const VolumeId volume_id = used.id;
        if (const Job* known = table_.find(id); known != nullptr && known->state != protocol::JobState::Ended) {
            Job now = *known;
            // The news of it may have come before, without how it is attached
            std::erase_if(now.volumes, [&volume_id](const UsedVolume& one) { return one.id == volume_id; });
            now.volumes.push_back(std::move(used));
            record(std::move(now));
        }
        return volumes_.refresh(volume_id).then([](bool /*it is attached all the same*/) { return Outcome<void>(); });
    }));
}

kj::Promise<Outcome<void>> JobManager::detach(const Caller& caller, std::string_view volume, Scope scope, std::string_view job) {
    auto found = pair(caller, volume, scope, job, "detach");
    if (!found) {
        return Outcome<void>(std::unexpected(found.error()));
    }
    protocol::DetachVolume request;
    request.header.connection = caller.connection;
    request.id = found->volume->entry.id;
    request.job = found->job->id;
    return lasting(broker_.request(request).then([this, id = request.job, volume_id = request.id, subject = std::move(found->subject)](
                                                     const protocol::Message& message) -> kj::Promise<Outcome<void>> {
        const protocol::Reply& reply = reply_of(message);
        if (reply.code == ErrorCode::NotFound && reply.job.is_none() && volumes_.index().find(volume_id) != nullptr) {
            return Outcome<void>(std::unexpected(
                Refusal{{ErrorCode::NotFound,
                         fmt::format("volume \"{}\" is not attached to job {}", subject.volume_name, printable(subject.asked_job)),
                         "inspect the job to see its volumes"},
                        {{"volume", to_string(volume_id)}}}));
        }
        if (reply.code != ErrorCode::Ok) {
            return Outcome<void>(std::unexpected(refusal_from(reply, subject)));
        }
        if (const Job* known = table_.find(id); known != nullptr && known->state != protocol::JobState::Ended) {
            Job now = *known;
            std::erase_if(now.volumes, [&volume_id](const UsedVolume& one) { return one.id == volume_id; });
            record(std::move(now));
        }
        return volumes_.refresh(volume_id).then([](bool /*it is detached all the same*/) { return Outcome<void>(); });
    }));
}

// What a running job has is what the broker says. Where a volume appears and how is known of those that were asked for here.
void JobManager::follow_volumes(Job& job, const protocol::JobEntry& entry) const {
    const auto there = std::span(entry.volumes).first(entry.volume_count);
    if (entry.state == protocol::JobState::Running) { // what it had at its end stays in the history
        std::erase_if(job.volumes, [&there](const UsedVolume& one) { return std::ranges::find(there, one.id) == there.end(); });
    }
    for (const auto& id : there) {
        if (std::ranges::find(job.volumes, id, &UsedVolume::id) == job.volumes.end()) {
            const Volume* volume = volumes_.index().find(id);
            job.volumes.push_back({id, volume != nullptr ? volume->entry.name.string() : std::string(), {}, false});
        }
    }
}

} // namespace joblet::api
