#include "api-unpriv/jobs/manager.h"

#include <algorithm>
#include <csignal>

#include <fmt/format.h>

#include "api-unpriv/jobs/waiter.h"
#include "shared/log.h"

namespace joblet::api {

namespace {

using protocol::JobState;

constexpr std::uint32_t kSignalMax = 31;

} // namespace

JobManager::JobManager(BrokerClient& broker, StoreWriter& store, VolumeManager& volumes, const Bases& bases, kj::Timer& timer,
                       const ApiConfig& config)
    : broker_(broker), store_(store), volumes_(volumes), bases_(bases), timer_(timer), config_(config), tasks_(*this) {}

void JobManager::taskFailed(kj::Exception&& exception) {
    log::error(fmt::format("a task about jobs failed: {}", exception.getDescription().cStr()));
}

Outcome<const Job*> JobManager::get(const Caller& caller, std::string_view selector, Scope scope) const {
    const auto allowed = permitted(caller, scope);
    if (!allowed) {
        return std::unexpected(allowed.error());
    }
    const auto found = table_.resolve(selector, *allowed);
    if (found.empty()) {
        return std::unexpected(no_such_job(selector));
    }
    if (found.size() > 1) {
        Refusal refusal = invalid("selector", fmt::format("\"{}\" may be any of {} jobs", selector, found.size()), "give the whole id");
        constexpr std::size_t kShown = 16;
        for (std::size_t i = 0; i < std::min(found.size(), kShown); ++i) {
            refusal.fields.emplace_back("job", to_string(found[i]->id));
        }
        return std::unexpected(std::move(refusal));
    }
    return found.front();
}

Outcome<JobPage> JobManager::list(const Caller& caller, JobQuery query) const {
    const auto allowed = permitted(caller, query.scope);
    if (!allowed) {
        return std::unexpected(allowed.error());
    }
    query.scope = *allowed;
    auto page = table_.list(query);
    if (!page) {
        return std::unexpected(
            invalid("page.after", "this is not the end of an earlier page", "use `next` of the page before, as it was given"));
    }
    return std::move(*page);
}

kj::Promise<Outcome<Job>> JobManager::wait(const Caller& caller, std::string_view selector, Scope scope) {
    const auto found = get(caller, selector, scope);
    if (!found) {
        return Outcome<Job>(std::unexpected(found.error()));
    }
    return ended((*found)->id, std::string(selector));
}

kj::Promise<Outcome<Job>> JobManager::ended(JobId id, std::string asked) {
    const Job* job = table_.find(id);
    if (job == nullptr) {
        return Outcome<Job>(std::unexpected(no_such_job(asked)));
    }
    if (job->state == JobState::Ended) {
        return Outcome<Job>(*job);
    }
    return kj::newAdaptedPromise<Outcome<Job>, Waiter>(*this, id, std::move(asked));
}

kj::Promise<Outcome<void>> JobManager::send_signal(const Caller& caller, const Job& job, std::uint32_t signal, std::string asked) {
    protocol::SignalJob request;
    request.header.connection = caller.connection;
    request.id = job.id;
    request.signal = signal;
    request.authority = authority_over(caller, job.owner_uid);
    return broker_.request(request).then([asked = std::move(asked)](const protocol::Message& message) -> Outcome<void> {
        const protocol::Reply& reply = reply_of(message);
        if (reply.code != ErrorCode::Ok) {
            return std::unexpected(refusal_from(reply, {fmt::format("signal job {}", asked), {}, asked, true}));
        }
        return {};
    });
}

kj::Promise<Outcome<void>> JobManager::signal(const Caller& caller, std::string_view selector, Scope scope, std::uint32_t signal) {
    if (signal < 1 || signal > kSignalMax) {
        return Outcome<void>(
            std::unexpected(invalid("signal", fmt::format("{} is not a signal; 1 to {} are accepted", signal, kSignalMax))));
    }
    const auto found = get(caller, selector, scope);
    if (!found) {
        return Outcome<void>(std::unexpected(found.error()));
    }
    if ((*found)->state == JobState::Ended) {
        return Outcome<void>(std::unexpected(
            Refusal{{ErrorCode::NotFound, fmt::format("job {} has ended", selector), "a signal needs a job that is running"}, {}}));
    }
    return send_signal(caller, **found, signal, std::string(selector));
}

kj::Promise<Outcome<Job>> JobManager::stop(const Caller& caller, std::string_view selector, Scope scope, kj::Duration grace) {
    const auto found = get(caller, selector, scope);
    if (!found) {
        return Outcome<Job>(std::unexpected(found.error()));
    }
    const JobId id = (*found)->id;
    if ((*found)->state == JobState::Ended) {
        return Outcome<Job>(**found);
    }
    std::string asked(selector);
    // Waited for from now on: one that is removed at its end would not be found later. And a job that ended by itself between
    // two steps is stopped as well: what counts is its end
    auto end = ended(id, asked);
    auto kill = [this, id, caller, asked]() -> kj::Promise<Outcome<Job>> {
        const Job* job = table_.find(id);
        if (job == nullptr || job->state == JobState::Ended) {
            return kj::NEVER_DONE;
        }
        return send_signal(caller, *job, SIGKILL, asked).then([](const Outcome<void>& killed) -> kj::Promise<Outcome<Job>> {
            if (!killed && killed.error().error.code != ErrorCode::NotFound) {
                return Outcome<Job>(std::unexpected(killed.error()));
            }
            return kj::NEVER_DONE;
        });
    };
    return send_signal(caller, **found, SIGTERM, asked)
        .then([this, grace, end = kj::mv(end), kill = std::move(kill)](const Outcome<void>& sent) mutable -> kj::Promise<Outcome<Job>> {
            const auto code = sent ? ErrorCode::Ok : sent.error().error.code;
            // A job whose jobletd was killed has nobody left who could pass a signal on: it is ended without having been asked
            const bool cannot_be_asked = code == ErrorCode::Unavailable;
            if (code != ErrorCode::Ok && code != ErrorCode::NotFound && !cannot_be_asked) {
                return Outcome<Job>(std::unexpected(sent.error()));
            }
            return end.exclusiveJoin(timer_.afterDelay(cannot_be_asked ? 0 * kj::SECONDS : grace).then(std::move(kill)));
        });
}

kj::Promise<Outcome<void>> JobManager::release(const Caller& caller, JobId id, std::uint32_t owner, std::string asked) {
    protocol::ReleaseJob request;
    request.header.connection = caller.connection;
    request.id = id;
    request.authority = caller.connection == 0 ? protocol::Authority::User : authority_over(caller, owner);
    return broker_.request(request).then([this, id, asked = std::move(asked)](const protocol::Message& message) -> Outcome<void> {
        const protocol::Reply& reply = reply_of(message);
        // The broker keeps fewer of them: one that it forgot is only left to be forgotten here
        if (reply.code != ErrorCode::Ok && reply.code != ErrorCode::NotFound) {
            return std::unexpected(refusal_from(reply, {fmt::format("remove job {}", asked), {}, asked, true}));
        }
        forget(id);
        return {};
    });
}

kj::Promise<Outcome<void>> JobManager::remove(const Caller& caller, std::string_view selector, Scope scope) {
    const auto found = get(caller, selector, scope);
    if (!found) {
        return Outcome<void>(std::unexpected(found.error()));
    }
    const Job& job = **found;
    if (job.state != JobState::Ended) {
        return Outcome<void>(std::unexpected(
            Refusal{{ErrorCode::InUse, fmt::format("job {} has not ended", selector), "stop it first"}, {{"job", to_string(job.id)}}}));
    }
    return release(caller, job.id, job.owner_uid, std::string(selector));
}

kj::Promise<Outcome<std::vector<JobId>>> JobManager::prune(const Caller& caller, Scope scope) {
    const auto allowed = permitted(caller, scope);
    if (!allowed) {
        return Outcome<std::vector<JobId>>(std::unexpected(allowed.error()));
    }
    std::vector<JobId> ids;
    kj::Vector<kj::Promise<Outcome<void>>> released;
    for (const auto& [id, job] : table_.all()) {
        // A window full of them at a time; who has more, asks again
        if (job.state == JobState::Ended && allowed->covers(job.owner_uid) && ids.size() < BrokerClient::kOutgoingMax / 2) {
            ids.push_back(id);
            released.add(release(caller, id, job.owner_uid, to_string(id)));
        }
    }
    return kj::joinPromises(released.releaseAsArray())
        .then([ids = std::move(ids)](const kj::Array<Outcome<void>>& done) -> Outcome<std::vector<JobId>> {
            std::vector<JobId> pruned;
            for (std::size_t i = 0; i < ids.size(); ++i) {
                if (done[i]) {
                    pruned.push_back(ids[i]);
                }
            }
            if (pruned.empty() && !ids.empty()) {
                return std::unexpected(done[0].error());
            }
            return pruned;
        });
}

} // namespace joblet::api
