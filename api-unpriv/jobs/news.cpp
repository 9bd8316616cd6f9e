// What the broker says of jobs, and what is done when one has ended.
#include <algorithm>

#include <fmt/format.h>

#include "api-unpriv/jobs/manager.h"
#include "api-unpriv/jobs/waiter.h"
#include "shared/log.h"

namespace joblet::api {

namespace {

using protocol::JobState;

constexpr auto kLoadRetry = 50 * kj::MILLISECONDS;
constexpr auto kReleaseRetry = 1 * kj::SECONDS;

} // namespace

void JobManager::changed(const protocol::JobEntry& entry) {
    if (loading_) {
        known_to_broker_.insert(entry.id);
    }
    Job job;
    const Job* known = table_.find(entry.id);
    if (known != nullptr) {
        job = *known;
    }
    job.id = entry.id;
    job.owner_uid = entry.owner_uid;
    job.state = entry.state;
    job.started_ns = entry.started_ns;
    job.exit = entry.exit;
    // A broker that was started anew knows of an ended job only how it ended
    if (entry.state != JobState::Ended || entry.limits.controllers != 0) {
        job.limits = entry.limits;
    }
    follow_volumes(job, entry);
    record(std::move(job));
}

const Job& JobManager::record(Job job) {
    const Job& there = table_.put(std::move(job));
    store_.put(there);
    if (there.state == JobState::Ended) {
        answer_waiters(there.id, &there);
        tasks_.add(volumes_.cleanup_volumes(there.id, there.volumes));
        if (there.remove_at_end) {
            tasks_.add(release_at_end(there.id));
        }
        tasks_.add(kj::evalLater([this, owner = there.owner_uid]() { trim(owner); }));
    }
    return there;
}

void JobManager::forget(const JobId& id) {
    table_.erase(id);
    store_.erase(id);
    answer_waiters(id, nullptr);
}

void JobManager::answer_waiters(const JobId& id, const Job* job) {
    if (const auto waiting = waiters_.find(id); waiting != waiters_.end()) {
        std::ranges::for_each(waiting->second, [job](Waiter* waiter) { waiter->answer(job); });
    }
}

// As its user asked when he started it. Until the broker has forgotten it, it is remembered here: also over a restart.
kj::Promise<void> JobManager::release_at_end(JobId id) {
    protocol::ReleaseJob request;
    request.id = id;
    return broker_.request(request).then([this, id](const protocol::Message& message) -> kj::Promise<void> {
        switch (reply_of(message).code) {
        case ErrorCode::Ok:
        case ErrorCode::NotFound:
            forget(id);
            break;
        case ErrorCode::Unavailable:
            return timer_.afterDelay(kReleaseRetry).then([this, id]() { return release_at_end(id); });
        default:
            log::warning(fmt::format("job {} cannot be removed at its end: {}", to_string(id), error_code_name(reply_of(message).code)));
            break;
        }
        return kj::READY_NOW;
    });
}

// History is bounded: the oldest go, at the broker as well.
void JobManager::trim(std::uint32_t owner) {
    const auto drop = [this](const Job* job) {
        protocol::ReleaseJob request;
        request.id = job->id;
        tasks_.add(broker_.request(request).ignoreResult());
        forget(job->id);
    };
    while (table_.ended_count(owner) > config_.ended_jobs_per_user) {
        drop(table_.oldest_ended(owner));
    }
    while (table_.ended_count(std::nullopt) > config_.ended_jobs) {
        drop(table_.oldest_ended(std::nullopt));
    }
}

// ---- start

kj::Promise<void> JobManager::load(std::vector<Job> remembered) {
    loading_ = true;
    for (auto& job : remembered) {
        table_.put(std::move(job));
    }
    return load_page({}).then([this]() { end_unseen(); });
}

// What was alive once and is unknown to the broker ended unseen, for example with the host. What was to be removed at its end
// was removed there, and not here.
void JobManager::end_unseen() {
    std::vector<Job> unseen;
    std::vector<JobId> removed;
    for (const auto& [id, job] : table_.all()) {
        if (known_to_broker_.contains(id)) {
            continue;
        }
        if (job.remove_at_end) {
            removed.push_back(id);
        } else if (job.state != JobState::Ended) {
            unseen.push_back(job);
        }
    }
    known_to_broker_.clear();
    loading_ = false;
    std::ranges::for_each(removed, [this](const JobId& id) { forget(id); });
    for (auto& job : unseen) {
        job.state = JobState::Ended;
        job.exit = {};
        job.exit.magic = kExitMagic;
        job.exit.kind = ExitKind::Killed;
        job.exit.started_ns = job.started_ns;
        record(std::move(job));
    }
    log::info(fmt::format("{} jobs, {} of which ended while nobody was looking", table_.all().size(), unseen.size()));
}

kj::Promise<void> JobManager::load_page(JobId after) {
    protocol::ListJobs request;
    request.after = after;
    return broker_.request(request).then([this, after](const protocol::Message& message) -> kj::Promise<void> {
        const auto* page = std::get_if<protocol::JobPage>(&message);
        if (page == nullptr) {
            return timer_.afterDelay(kLoadRetry).then([this, after]() { return load_page(after); });
        }
        for (const auto& entry : std::span(page->jobs).first(page->reply.count)) {
            changed(entry);
        }
        if ((page->reply.flags & protocol::kReplyMore) == 0 || page->reply.count == 0) {
            return kj::READY_NOW;
        }
        return load_page(page->jobs.at(page->reply.count - 1).id);
    });
}

} // namespace joblet::api
