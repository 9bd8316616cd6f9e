#include "cli/job.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "cli/job_parts.h"

namespace joblet::cli {
namespace {

rpc::JobState wire_of(JobStateFilter state) {
    switch (state) {
    case JobStateFilter::Starting:
        return rpc::JobState::STARTING;
    case JobStateFilter::Running:
        return rpc::JobState::RUNNING;
    case JobStateFilter::Ended:
        return rpc::JobState::ENDED;
    case JobStateFilter::Any:
        break;
    }
    return rpc::JobState::ANY;
}

std::vector<JobView> fetch(const JobList& list, const std::string& socket) {
    Client client(socket);
    auto service = client.jobs();
    constexpr std::uint32_t kPageSize = 1000; // the most that is given at once
    std::vector<JobView> jobs;
    for (std::string next;;) {
        auto request = service.listJobsRequest();
        request.setState(wire_of(list.state));
        request.getPage().setSize(kPageSize);
        request.getPage().setAfter(next);
        fill(request.getScope(), list.scope);
        const auto answer = client.wait(request.send());
        const auto listing = value_of(answer.getResult());
        for (const auto job : listing.getJobs()) {
            jobs.push_back(view_of(job));
        }
        next = text_of(listing.getNext());
        if (next.empty()) {
            return jobs;
        }
    }
}

// Until the job has ended. `grace_ns` 0: ten seconds.
void stop(Client& client, const std::string& name, const Scope& scope, std::uint64_t grace_ns) {
    auto request = client.jobs().stopRequest();
    fill(request.getSelector(), name, scope);
    request.setGraceNs(grace_ns);
    const auto answer = client.wait(request.send(), "stopping job \"" + name + "\"");
    value_of(answer.getResult());
}

} // namespace

int list_jobs(const JobList& list, const CommandLine& line) {
    const auto jobs = fetch(list, line.socket);
    if (!list.quiet) {
        write_stdout(render_job_list(jobs, line.format, list.scope.kind != Scope::Kind::Own, terminal_width()));
        return 0;
    }
    std::vector<std::string> ids;
    ids.reserve(jobs.size());
    for (const auto& job : jobs) {
        ids.push_back(job.id);
    }
    write_stdout(render_names(ids, line.format));
    return 0;
}

int inspect_jobs(const JobInspect& inspect, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.jobs();
    std::vector<JobView> jobs;
    const int status = for_each_name(inspect.names, line.format, [&](const std::string& name) {
        auto request = service.getJobRequest();
        fill(request.getSelector(), name, inspect.scope);
        const auto answer = client.wait(request.send());
        jobs.push_back(view_of(value_of(answer.getResult())));
    });
    // How it is shown depends on what was asked, not on what was found.
    if (inspect.names.size() > 1) {
        write_stdout(render_jobs(jobs, line.format));
    } else if (!jobs.empty()) {
        write_stdout(render_job(jobs.front(), line.format));
    }
    return status;
}

int wait_for_jobs(const JobWait& wait, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.jobs();
    std::vector<unsigned> statuses;
    const int status = for_each_name(wait.names, line.format, [&](const std::string& name) {
        auto request = service.waitRequest();
        fill(request.getSelector(), name, wait.scope);
        const auto answer = client.wait(request.send());
        statuses.push_back(value_of(answer.getResult()).getExit().getStatus());
        if (line.format == Format::Table) { // people want each when it is known
            write_stdout(render_statuses(std::span(statuses).last(1), line.format));
        }
    });
    if (line.format != Format::Table) {
        write_stdout(render_statuses(statuses, line.format));
    }
    return status;
}

int stop_jobs(const JobStop& wanted, const CommandLine& line) {
    Client client(line.socket);
    std::uint64_t grace_ns = 0;
    if (wanted.grace) {
        // No grace is the shortest one: 0 means the usual
        grace_ns = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::chrono::nanoseconds(*wanted.grace).count()));
    }
    std::vector<std::string> stopped;
    const int status = for_each_name(wanted.names, line.format, [&](const std::string& name) {
        stop(client, name, wanted.scope, grace_ns);
        stopped.push_back(name);
    });
    write_stdout(render_names(stopped, line.format));
    return status;
}

int kill_jobs(const JobKill& kill, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.jobs();
    std::vector<std::string> signaled;
    const int status = for_each_name(kill.names, line.format, [&](const std::string& name) {
        auto request = service.signalRequest();
        fill(request.getSelector(), name, kill.scope);
        request.setSignal(kill.signal);
        const auto answer = client.wait(request.send());
        value_of(answer.getResult());
        signaled.push_back(name);
    });
    write_stdout(render_names(signaled, line.format));
    return status;
}

int remove_jobs(const JobRemove& remove, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.jobs();
    std::vector<std::string> removed;
    const int status = for_each_name(remove.names, line.format, [&](const std::string& name) {
        if (remove.force) {
            stop(client, name, remove.scope, 0);
        }
        auto request = service.removeRequest();
        fill(request.getSelector(), name, remove.scope);
        const auto answer = client.wait(request.send());
        const auto result = answer.getResult();
        // One that was started with --rm is forgotten as soon as it is stopped.
        if (!(remove.force && result.isError() && error_of(result.getError()).code == ErrorCode::NotFound)) {
            value_of(result);
        }
        removed.push_back(name);
    });
    write_stdout(render_names(removed, line.format));
    return status;
}

int prune_jobs(const JobPrune& prune, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.jobs().pruneRequest();
    fill(request.getScope(), prune.scope);
    const auto answer = client.wait(request.send());
    std::vector<std::string> ids;
    for (const auto id : value_of(answer.getResult()).getJobs()) {
        ids.push_back(text_of(id));
    }
    write_stdout(render_names(ids, line.format));
    return 0;
}

int list_bases(const CommandLine& line) {
    Client client(line.socket);
    const auto answer = client.wait(client.host().listBasesRequest().send());
    std::vector<BaseView> bases;
    for (const auto base : value_of(answer.getResult()).getBases()) {
        bases.push_back({.name = text_of(base.getName()), .proc = text_of(base.getProc()), .usable = base.getUsable()});
    }
    write_stdout(render_bases(bases, line.format, terminal_width()));
    return 0;
}

} // namespace joblet::cli
