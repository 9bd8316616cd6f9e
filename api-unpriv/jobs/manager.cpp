#include "api-unpriv/jobs/manager.h"

#include <algorithm>
#include <csignal>
#include <ctime>

#include <fmt/format.h>

#include "api-unpriv/jobs/request.h"
#include "shared/log.h"
#include "shared/stdio_kind.h"

namespace joblet::api {

namespace {

using protocol::JobState;

constexpr auto kLoadRetry = 50 * kj::MILLISECONDS;
constexpr std::uint32_t kSignalMax = 31;

std::int64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

} // namespace

// Someone who waits for the end of a job. Its life is the promise's: whoever loses interest is off the list at once.
class JobManager::Waiter {
  public:
    Waiter(kj::PromiseFulfiller<void>& fulfiller, JobManager& manager, JobId id) : fulfiller_(fulfiller), manager_(manager), id_(id) {
        manager_.waiters_[id_].push_back(this);
    }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() {
        const auto place = manager_.waiters_.find(id_);
        if (place == manager_.waiters_.end()) {
            return;
        }
        std::erase(place->second, this);
        if (place->second.empty()) {
            manager_.waiters_.erase(place);
        }
    }
    void wake() {
        fulfiller_.fulfill();
    }

  private:
    kj::PromiseFulfiller<void>& fulfiller_;
    JobManager& manager_;
    JobId id_;
};

JobManager::JobManager(BrokerClient& broker, StoreWriter& store, VolumeManager& volumes, kj::Timer& timer, const ApiConfig& config)
    : broker_(broker), store_(store), volumes_(volumes), timer_(timer), config_(config), tasks_(*this) {}

void JobManager::taskFailed(kj::Exception&& exception) {
    log::error(fmt::format("a task about jobs failed: {}", exception.getDescription().cStr()));
}

kj::Promise<Outcome<Job>> JobManager::run(const Caller& caller, NewJob wanted) {
    const auto refuse = [](Refusal refusal) { return Outcome<Job>(std::unexpected(std::move(refusal))); };
    const std::string base = wanted.base.empty() ? std::string(kDefaultBase) : wanted.base;
    auto volumes = volumes_.prepare_volumes(caller, wanted.volumes);
    if (!volumes) {
        return refuse(volumes.error());
    }
    auto request = start_request(base, wanted.host_name, *volumes);
    if (!request) {
        return refuse(request.error());
    }
    if (!wanted.name.empty() && !is_valid_name(wanted.name)) {
        return refuse(invalid("name", "the name of the job is not valid", fmt::format("a name is {}", kNameForms)));
    }
    if (!is_control_socket(wanted.control.get())) { // at the broker it would be fatal
        return refuse(invalid("control", "the control descriptor is not a SOCK_SEQPACKET socket of a pair"));
    }
    JobSpec spec{wanted.command, environment_of(wanted.host_name, wanted.environment),
                 wanted.working_directory.empty() ? std::string(kDefaultDirectory) : wanted.working_directory};
    auto memory = make_job_spec(spec);
    if (!memory) {
        return refuse(invalid("command", memory.error()));
    }
    const std::pair<std::uint32_t, std::string> name{caller.uid, wanted.name};
    if (!wanted.name.empty() && (table_.find(caller.uid, wanted.name) != nullptr || !names_being_started_.insert(name).second)) {
        return refuse(
            {{ErrorCode::Conflict, fmt::format("there is a job \"{}\" already", wanted.name), "remove it, or choose another name"}, {}});
    }

    Job job;
    job.owner_uid = caller.uid;
    job.name = wanted.name;
    job.command = kept_command(wanted.command);
    job.base = base;
    job.host_name = wanted.host_name;
    job.volumes = std::move(*volumes);

    std::vector<Fd> descriptors; // in the order of StartJobDescriptor
    descriptors.push_back(std::move(wanted.control));
    descriptors.push_back(std::move(*memory));
    request->header.connection = caller.connection;

    auto started = broker_.request(*request, std::move(descriptors))
                       .then([this, name, job = std::move(job)](const protocol::Message& message) mutable -> Outcome<Job> {
                           names_being_started_.erase(name);
                           const protocol::Reply& reply = reply_of(message);
                           if (reply.code == ErrorCode::NotFound && reply.volume.is_none()) {
                               return std::unexpected(Refusal{{ErrorCode::NotFound, fmt::format("there is no base \"{}\"", job.base),
                                                               "bases are listed in broker.toml; \"minimal\" is always there"},
                                                              {}});
                           }
                           if (reply.code != ErrorCode::Ok) {
                               const auto named = std::ranges::find(job.volumes, reply.volume, &UsedVolume::id);
                               const std::string volume = named != job.volumes.end() ? named->name : std::string();
                               Subject subject{"start the job", volume, volume};
                               if (reply.code == ErrorCode::InUse) {
                                   subject.jobs = table_.holding(reply.volume);
                               }
                               return std::unexpected(refusal_from(reply, subject));
                           }
                           job.id = reply.job;
                           // The news of its start, or even of its end, may have come before
                           if (const Job* known = table_.find(reply.job)) {
                               job.state = known->state;
                               job.started_ns = known->started_ns;
                               job.exit = known->exit;
                           } else {
                               job.started_ns = now_ns();
                           }
                           return record(std::move(job));
                       })
                       .fork();
    tasks_.add(started.addBranch().ignoreResult());
    return started.addBranch();
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
    return kj::newAdaptedPromise<void, Waiter>(*this, id).then([this, id, asked = std::move(asked)]() { return ended(id, asked); });
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
    // A job that ended by itself between two steps is stopped as well: what counts is its end
    return send_signal(caller, **found, SIGTERM, asked)
        .then([this, id, caller, grace, asked](const Outcome<void>& sent) -> kj::Promise<Outcome<Job>> {
            if (!sent && sent.error().error.code != ErrorCode::NotFound) {
                return Outcome<Job>(std::unexpected(sent.error()));
            }
            auto kill = timer_.afterDelay(grace).then([this, id, caller, asked]() -> kj::Promise<Outcome<Job>> {
                const Job* job = table_.find(id);
                if (job == nullptr || job->state == JobState::Ended) {
                    return ended(id, asked);
                }
                return send_signal(caller, *job, SIGKILL, asked)
                    .then([this, id, asked](const Outcome<void>& killed) -> kj::Promise<Outcome<Job>> {
                        if (!killed && killed.error().error.code != ErrorCode::NotFound) {
                            return Outcome<Job>(std::unexpected(killed.error()));
                        }
                        return ended(id, asked);
                    });
            });
            return ended(id, asked).exclusiveJoin(kj::mv(kill));
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
    follow_volumes(job, entry);
    record(std::move(job));
}

const Job& JobManager::record(Job job) {
    const Job& there = table_.put(std::move(job));
    store_.put(there);
    if (there.state == JobState::Ended) {
        if (const auto waiting = waiters_.find(there.id); waiting != waiters_.end()) {
            std::ranges::for_each(waiting->second, [](Waiter* waiter) { waiter->wake(); });
        }
        tasks_.add(volumes_.cleanup_volumes(there.id, there.volumes));
        tasks_.add(kj::evalLater([this, owner = there.owner_uid]() { trim(owner); }));
    }
    return there;
}

void JobManager::forget(const JobId& id) {
    table_.erase(id);
    store_.erase(id);
    if (const auto waiting = waiters_.find(id); waiting != waiters_.end()) {
        std::ranges::for_each(waiting->second, [](Waiter* waiter) { waiter->wake(); });
    }
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
    return load_page({}).then([this]() {
        // What was alive once and is unknown to the broker ended unseen, for example with the host
        std::vector<Job> unseen;
        for (const auto& [id, job] : table_.all()) {
            if (job.state != JobState::Ended && !known_to_broker_.contains(id)) {
                unseen.push_back(job);
            }
        }
        known_to_broker_.clear();
        loading_ = false;
        for (auto& job : unseen) {
            job.state = JobState::Ended;
            job.exit = {};
            job.exit.magic = kExitMagic;
            job.exit.kind = ExitKind::Killed;
            job.exit.started_ns = job.started_ns;
            record(std::move(job));
        }
        log::info(fmt::format("{} jobs, {} of which ended while nobody was looking", table_.all().size(), unseen.size()));
    });
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
