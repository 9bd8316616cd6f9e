// Jobs from the decision to start one until nothing of it is left.
#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "broker-root/broker/channels.h"
#include "broker-root/broker/config.h"
#include "broker-root/broker/doorman.h"
#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/host.h"
#include "broker-root/broker/job_plan.h"
#include "broker-root/broker/news.h"
#include "broker-root/broker/registry.h"
#include "broker-root/broker/slots.h"
#include "broker-root/broker/spawner_link.h"
#include "broker-root/broker/supervisor.h"
#include "broker-root/broker/task.h"
#include "broker-root/broker/workers.h"
#include "broker-root/kernel/result.h"
#include "shared/exit_record.h"
#include "shared/fd.h"

namespace joblet::broker {

struct AttachedVolume {
    VolumeId id;
    protocol::Access access{};
};

struct Job {
    explicit Job(EventLoop& loop) : underway(loop), settled(loop) {}
    [[nodiscard]] bool has_log() const {
        return (record.flags & worker::kJobHasLog) != 0;
    }
    [[nodiscard]] bool is_system() const {
        return record.kind == static_cast<std::uint32_t>(worker::JobKind::System);
    }

    worker::JobRecord record;
    protocol::JobState state = protocol::JobState::Starting;
    ExitRecord exit;
    std::vector<AttachedVolume> volumes;
    bool finishing = false;
    bool launched_here = false; // by this broker, which has heard everything that its stage had to say
    bool holds_slot = true;     // false only for what an earlier broker left with a slot that is not there, or a record nobody can read
    // Its command runs, or it is over already.
    Gate underway;
    // Its volumes are being changed.
    std::optional<Gate> change;
    // Over, and what it held is free again; or it cannot be brought to an end and whoever waits must be told so.
    Gate settled;

    Fd pidfd;           // of the stage, pid 1 of the job; none after jobletd itself was started anew
    Fd status;          // to the stage; closed as soon as the stage is gone
    Fd mount_namespace; // given by the stage; the last thing that keeps the job's mounts
    Fd cgroup;
    Fd cgroup_events;
    Fd control_peer;          // of a system job: kept open, because a control socket that hangs up means "stop"
    bool kill_is_due = false; // as soon as there is a process
    EventLoop::Watch pidfd_watch = 0;
    EventLoop::Watch status_watch = 0;
    EventLoop::Watch events_watch = 0;
};
using JobPointer = std::shared_ptr<Job>;

// A job of our own, from the system base, as nobody.
struct SystemJob {
    std::vector<std::string> arguments;
    Fd input;  // its stdin; none: nothing to read
    Fd output; // its stdout; none: what it says goes into the log if it fails
    std::uint32_t slot = 0;
    std::uint32_t owner = 0;                   // of the volume that it works on
    std::optional<worker::MountVolume> volume; // in the trash
};

struct SystemJobEnd {
    ExitRecord exit;
    std::string said; // the beginning of its output
};

// What joblet-api and clients are told of it; always a message that decodes.
protocol::JobEntry entry_of(const Job& job);

// A new id, started now.
worker::JobRecord make_job_record(std::uint32_t owner, std::uint32_t slot, worker::JobKind kind);

class Jobs {
  public:
    struct Parts {
        EventLoop& loop;
        const BrokerConfig& config;
        Supervisor& supervisor;
        Workers& workers;
        SpawnerLink& spawner;
        Slots& slots;
        Registry& registry;
        const News& news;
        const Host& host;
        Closer& closer;
    };
    // cgroups: O_PATH directory of cgroup2 in which each job gets a group.
    Jobs(Parts parts, Fd cgroups) : p_(parts), cgroups_(std::move(cgroups)) {}

    // ---- requests
    // With kStartDryRun: what the job would have, and nothing is done.
    // `channel`: the one that the request names, if there is such a one.
    Task<protocol::JobWorld> start(protocol::StartJob request, std::uint32_t uid, std::optional<Channel> channel);
    protocol::Reply signal(const protocol::SignalJob& request, const Client& client);
    // client: nullptr for the API on its own account
    Task<protocol::Reply> release(protocol::ReleaseJob request, std::optional<Client> client);
    Task<ReplyWithFiles> open_log(protocol::OpenLog request, Client client);
    [[nodiscard]] protocol::BaseList bases() const;
    [[nodiscard]] protocol::JobPage page(const protocol::ListJobs& request) const;

    Task<protocol::Reply> attach(protocol::AttachVolume request, std::uint32_t uid);
    Task<protocol::Reply> detach(protocol::DetachVolume request, std::uint32_t uid);

    // ---- for others here
    // Waits for its end, however it ends.
    Task<std::expected<SystemJobEnd, Failure>> try_system_job(SystemJob wanted);
    // Exit code 0, or a failure, which is in the log.
    Task<std::expected<void, Failure>> run_system_job(SystemJob wanted);
    // A job's mount namespace once more, for a worker; none if it is not known (the job is starting, or jobletd was started anew).
    [[nodiscard]] Fd mounts_of(JobId id) const;
    // Waits until the job runs or is over, if it is starting.
    Task<bool> settle_start(JobId id);
    // Refused beyond what a user or the host may have attached of memory volumes.
    [[nodiscard]] std::optional<protocol::Reply> refuse_memory(std::uint64_t asked, std::uint32_t uid) const;
    [[nodiscard]] const std::map<JobId, JobPointer>& all() const {
        return jobs_;
    }
    // Names of the groups of jobs that there are.
    [[nodiscard]] kernel::Result<std::vector<std::string>> groups() const;
    // Takes a volume from a running job, lazily. InUse if nothing of ours leads into the job any more.
    Task<std::expected<void, Failure>> take_away(JobId id, VolumeId volume);
    // The job, if what it holds will be free without anybody's doing: it has ended, but is not yet cleared away.
    [[nodiscard]] JobPointer ending(JobId id);

    // ---- at start, in this order
    // Reads what may be alive; ends system jobs of an earlier broker and waits until they are gone.
    Task<std::expected<void, Failure>> load();
    // After the volumes are known: their jobs hold them again.
    void resume();
    // Now and then: what a dead job holds is released, should its end ever have been missed.
    void release_dead();

  private:
    Task<std::expected<void, Failure>> launch(JobPointer job, JobPlan plan, Channel channel);
    std::expected<void, Failure> make_group(Job& job);
    static void kill_group(const Job& job);
    void remove_group(JobId id);
    void record_end(const Job& job);
    void watch(const JobPointer& job);
    void keep(const Job& job);
    void read_status(const JobPointer& job);
    Task<bool> emptied(JobPointer job);
    Detached finish(JobPointer job);
    // Of a job that has ended, whose volumes are still mounted somewhere: nobody gets them before that is over.
    Detached wait_for_unmount(JobPointer job);
    Task<ExitRecord> recorded_exit(JobPointer job);
    void forget_oldest_ended();
    void tell(const Job& job) const;
    [[nodiscard]] std::uint64_t alive_of(std::uint32_t uid) const;
    [[nodiscard]] std::optional<Gate> memory_to_come();
    // Nothing: it may be attached now. A gate: wait for it and ask again. A reply: refused.
    std::expected<std::optional<Gate>, protocol::Reply> admit_volume(VolumeId id, protocol::Access access, std::uint32_t uid);
    std::expected<std::optional<Gate>, protocol::Reply> admit(const protocol::StartJob& request, std::uint32_t uid);
    [[nodiscard]] std::expected<protocol::JobLimits, protocol::Reply> limits_of(const protocol::StartJob& request);
    Task<std::expected<void, Failure>> load_bases();
    void load_ended(const worker::LoadedJob& loaded);
    Detached remove_files(JobId id);
    class ChangeOfJob;
    // Precondition: the job has it, its namespace is known, and nobody else changes its volumes.
    Task<std::expected<void, Failure>> unmount_from(JobPointer job, VolumeId volume);
    // A job of this user's that has not ended.
    [[nodiscard]] JobPointer running(JobId id, std::uint32_t uid) const;

    Parts p_;
    Fd cgroups_;
    std::map<JobId, JobPointer> jobs_;
    std::deque<JobId> ended_;
    std::set<std::string> usable_bases_;
};

} // namespace joblet::broker
