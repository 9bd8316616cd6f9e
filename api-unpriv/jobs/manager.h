// What users do with jobs: checks what they ask for, asks the broker, remembers how jobs ended.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <kj/async.h>
#include <kj/timer.h>

#include "api-unpriv/broker_client.h"
#include "api-unpriv/caller.h"
#include "api-unpriv/config.h"
#include "api-unpriv/host/bases.h"
#include "api-unpriv/jobs/channel.h"
#include "api-unpriv/jobs/job.h"
#include "api-unpriv/jobs/request.h"
#include "api-unpriv/jobs/table.h"
#include "api-unpriv/jobs/world.h"
#include "api-unpriv/store/writer.h"
#include "api-unpriv/volumes/manager.h"
#include "shared/fd.h"

namespace joblet::api {

struct NewJob {
    std::vector<std::string> command;
    std::vector<std::string> environment; // NAME=VALUE, added to the default one
    std::string working_directory;        // empty: /work
    std::vector<WantedVolume> volumes;
    std::string base;      // empty: minimal
    std::string host_name; // empty: made of the job's id
    std::string name;      // empty: none
    JobOptions options;
    std::shared_ptr<Channel> channel; // in which the job's stdio waits; of a job that is not started: none
};
struct Started {
    Job job;                           // with a dry run it has no id
    std::optional<PlannedWorld> world; // with a dry run
};
// Its two files, open for reading, in no particular order.
struct JobLog {
    Fd first;
    Fd second;
};

class JobManager final : private kj::TaskSet::ErrorHandler {
  public:
    JobManager(BrokerClient& broker, StoreWriter& store, VolumeManager& volumes, const Bases& bases, kj::Timer& timer,
               const ApiConfig& config);

    // Takes the place of one of the unused, if there is one.
    kj::Promise<Outcome<std::shared_ptr<Channel>>> open_channel(const Caller& caller, UnusedChannels unused);
    // The answer comes when the broker has ordered the start. A job is recorded even if its user is gone by then.
    kj::Promise<Outcome<Started>> run(const Caller& caller, NewJob wanted);
    [[nodiscard]] Outcome<const Job*> get(const Caller& caller, std::string_view selector, Scope scope) const;
    // Pointers are valid until the next turn of the event loop.
    [[nodiscard]] Outcome<JobPage> list(const Caller& caller, JobQuery query) const;
    // Resolves when it has ended; NotFound if it is removed meanwhile.
    kj::Promise<Outcome<Job>> wait(const Caller& caller, std::string_view selector, Scope scope);
    kj::Promise<Outcome<void>> signal(const Caller& caller, std::string_view selector, Scope scope, std::uint32_t signal);
    // SIGTERM, and SIGKILL after the grace.
    kj::Promise<Outcome<Job>> stop(const Caller& caller, std::string_view selector, Scope scope, kj::Duration grace);
    kj::Promise<Outcome<void>> remove(const Caller& caller, std::string_view selector, Scope scope);
    // Of a detached job, running or ended.
    kj::Promise<Outcome<JobLog>> logs(const Caller& caller, std::string_view selector, Scope scope);
    // On a running job of the caller's: a volume of his at /volumes/<name>.
    kj::Promise<Outcome<void>> attach(const Caller& caller, std::string_view volume, Scope scope, std::string_view job, bool read_only);
    kj::Promise<Outcome<void>> detach(const Caller& caller, std::string_view volume, Scope scope, std::string_view job);
    // Removes what has ended; the ids of what was.
    kj::Promise<Outcome<std::vector<JobId>>> prune(const Caller& caller, Scope scope);

    // What the broker said.
    void changed(const protocol::JobEntry& entry);

    // Which jobs that are alive have the volume.
    [[nodiscard]] std::vector<JobId> holding(const VolumeId& volume) const {
        return table_.holding(volume);
    }

    // At start: every job the broker has, over what was remembered.
    kj::Promise<void> load(std::vector<Job> remembered);

  private:
    class Waiter; // jobs/waiter.h
    struct Start {
        Job job;
        JobOptions options;
        JobSpec spec; // of a dry run
    };

    void taskFailed(kj::Exception&& exception) override;
    Outcome<void> reserve_name(const Caller& caller, const NewJob& wanted);
    Outcome<Started> started(Start start, const protocol::Message& message);
    [[nodiscard]] Refusal start_refusal(const Job& job, const protocol::Reply& reply) const;
    kj::Promise<void> load_page(JobId after);
    void end_unseen();
    struct Pair {
        const Volume* volume;
        const Job* job;
        Subject subject;
    };
    [[nodiscard]] Outcome<Pair> pair(const Caller& caller, std::string_view volume, Scope scope, std::string_view job,
                                     std::string_view doing) const;
    kj::Promise<Outcome<void>> lasting(kj::Promise<Outcome<void>> change);
    void follow_volumes(Job& job, const protocol::JobEntry& entry) const;
    kj::Promise<Outcome<void>> release(const Caller& caller, JobId id, std::uint32_t owner, std::string asked);
    kj::Promise<Outcome<void>> send_signal(const Caller& caller, const Job& job, std::uint32_t signal, std::string asked);
    kj::Promise<Outcome<Job>> ended(JobId id, std::string asked);
    const Job& record(Job job);
    void answer_waiters(const JobId& id, const Job* job);
    kj::Promise<void> release_at_end(JobId id);
    void forget(const JobId& id);
    void trim(std::uint32_t owner);

    BrokerClient& broker_;
    StoreWriter& store_;
    VolumeManager& volumes_;
    const Bases& bases_;
    kj::Timer& timer_;
    const ApiConfig& config_;
    JobTable table_;
    std::unordered_map<JobId, std::vector<Waiter*>> waiters_;
    std::set<std::pair<std::uint32_t, std::string>> names_being_started_;
    bool loading_ = false;
    std::unordered_set<JobId> known_to_broker_; // while loading, and empty afterwards
    kj::TaskSet tasks_;                         // last: its tasks use the rest
};

} // namespace joblet::api
