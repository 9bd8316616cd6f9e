#include "cli/arguments_job.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <string_view>

#include "shared/duration.h"
#include "shared/name.h"

namespace joblet::cli {
namespace {

constexpr std::array kStates = {
    Word{"starting", JobStateFilter::Starting},
    Word{"running", JobStateFilter::Running},
    Word{"ended", JobStateFilter::Ended},
};

// "TERM", "SIGTERM", "term" or "15"
std::uint32_t take_signal(std::string_view text) {
    constexpr std::uint32_t kLast = 31;
    if (const auto number = parse_number<std::uint32_t>(text); number && *number >= 1 && *number <= kLast) {
        return *number;
    }
    std::string name(text);
    std::ranges::transform(name, name.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    if (name.starts_with("SIG")) {
        name.erase(0, 3);
    }
    for (std::uint32_t number = 1; number <= kLast; ++number) {
        const char* known = ::sigabbrev_np(static_cast<int>(number));
        if (known != nullptr && name == known) {
            return number;
        }
    }
    throw Refused{
        invalid("the signal " + in_quotes(text) + " is unknown", "it is a name, for example TERM or HUP, or a number from 1 to 31")};
}

std::chrono::seconds take_grace(std::string_view text) {
    constexpr std::chrono::hours kMost(1);
    const auto grace = parse_duration(text);
    if (!grace || *grace > kMost) {
        throw Refused{
            invalid("the grace " + in_quotes(text) + " is not valid", "it is a whole number with a unit: 10s, 5m, at most 1h; or 0")};
    }
    return *grace;
}

} // namespace

JobGrammar::JobGrammar(CLI::App& rnx, CommonOptions& options)
    : job_(rnx.add_subcommand("job", "show jobs and their output, end, forget and wait for them")) {
    set_up(*job_, options, "rnx job list|inspect|logs|wait|stop|kill|remove|prune …",
           "Examples:\n"
           "  rnx job list --state=running\n"
           "  rnx job logs --follow train");
    job_->require_subcommand(1);
    add_to_show(options);
    add_to_end(options);
}

Command JobGrammar::take() const {
    const auto entry = std::ranges::find_if(entries_, [this](const Entry& candidate) { return job_->got_subcommand(candidate.app); });
    return (this->*entry->take)();
}

CLI::App& JobGrammar::add(const Description& description, CommonOptions& options, Take taker) {
    auto& command = *job_->add_subcommand(description.name, description.what);
    set_up(command, options, "rnx job " + description.usage, description.examples);
    scope_.add_to(command, "jobs");
    entries_.push_back({&command, taker});
    return command;
}

void JobGrammar::add_to_show(CommonOptions& options) {
    auto& list = add({"list", "show your jobs, the newest first", "list [--state=STATE] [--quiet] [--format=table|json|yaml]",
                      "Examples:\n"
                      "  rnx job list\n"
                      "  rnx job list --state=ended --quiet"},
                     options, &JobGrammar::take_list);
    list.alias("ls");
    add_value(list, "--state", state_, "STATE", "only starting, running or ended");
    list.add_flag("-q,--quiet", quiet_, "only ids");

    auto& inspect = add({"inspect", "show everything about jobs", "inspect JOB…",
                         "Examples:\n"
                         "  rnx job inspect train\n"
                         "  rnx job inspect 06365ce2f601 --format=json"},
                        options, &JobGrammar::take_inspect);
    add_names(inspect);

    auto& logs = add({"logs", "show what a detached job wrote", "logs [--follow] [--tail=LINES] [--timestamps] [--stdout|--stderr] JOB",
                      "What the job wrote to its stdout goes to stdout, what it wrote to its stderr to stderr.\n"
                      "\n"
                      "Examples:\n"
                      "  rnx job logs --tail=20 train\n"
                      "  rnx job logs --follow --timestamps train"},
                     options, &JobGrammar::take_logs);
    logs.add_option("JOB", name_, "name or id of a job")->type_name("")->required();
    logs.add_flag("-f,--follow", follow_, "go on until the job has ended");
    add_value(logs, "--tail", tail_, "LINES", "only so many lines from the end");
    logs.add_flag("--timestamps", timestamps_, "begin each line with the time at which it was written");
    logs.add_flag("--stdout", stdout_, "only what it wrote to its stdout");
    logs.add_flag("--stderr", stderr_, "only what it wrote to its stderr");
}

void JobGrammar::add_to_end(CommonOptions& options) {
    auto& wait =
        add({"wait", "wait until jobs have ended, and print the exit status of each", "wait JOB…", "Example:\n  rnx job wait train"},
            options, &JobGrammar::take_wait);
    auto& stop = add({"stop", "end jobs: SIGTERM, and after a grace SIGKILL", "stop [--grace=TIME] JOB…",
                      "Examples:\n"
                      "  rnx job stop train\n"
                      "  rnx job stop --grace=1m train"},
                     options, &JobGrammar::take_stop);
    add_value(stop, "--grace", grace_, "TIME", "how long they have after SIGTERM (default: 10s)");
    auto& kill = add({"kill", "send a signal to jobs; SIGKILL ends all their processes at once", "kill [--signal=SIGNAL] JOB…",
                      "Examples:\n"
                      "  rnx job kill train\n"
                      "  rnx job kill --signal=HUP train"},
                     options, &JobGrammar::take_kill);
    add_value(kill, "-s,--signal", signal_, "SIGNAL", "a name or number (default: KILL)");
    auto& remove = add({"remove", "forget ended jobs, their exit status and their log", "remove [--force] JOB…",
                        "Examples:\n"
                        "  rnx job remove train\n"
                        "  rnx job remove --force train"},
                       options, &JobGrammar::take_remove);
    remove.alias("rm");
    remove.add_flag("--force", force_, "stop them first, with a grace of 10s");
    for (auto* command : {&wait, &stop, &kill, &remove}) {
        add_names(*command);
    }
    add({"prune", "forget all ended jobs", "prune", "Example:\n  rnx job prune"}, options, &JobGrammar::take_prune);
}

void JobGrammar::add_names(CLI::App& command) {
    command.add_option("JOB", names_, "names or ids of jobs")->type_name("")->required();
}

Command JobGrammar::take_list() const {
    return JobList{choose(kStates, state_, "state", "states", JobStateFilter::Any), scope_.take(), quiet_};
}

Command JobGrammar::take_inspect() const {
    return JobInspect{take_names(), scope_.take()};
}

Command JobGrammar::take_logs() const {
    check_name("job", name_);
    JobLogs logs{.name = name_,
                 .scope = scope_.take(),
                 .follow = follow_,
                 .timestamps = timestamps_,
                 .with_stdout = stdout_ || !stderr_,
                 .with_stderr = stderr_ || !stdout_,
                 .tail = std::nullopt};
    if (!tail_.empty()) {
        logs.tail = parse_number<std::uint64_t>(tail_);
        if (!logs.tail) {
            throw Refused{invalid("the number of lines " + in_quotes(tail_) + " is not valid", "it is a whole number, for example 20")};
        }
    }
    return logs;
}

Command JobGrammar::take_stop() const {
    return JobStop{take_names(), scope_.take(), grace_.empty() ? std::nullopt : std::optional(take_grace(grace_))};
}

Command JobGrammar::take_kill() const {
    return JobKill{take_names(), scope_.take(), signal_.empty() ? static_cast<std::uint32_t>(SIGKILL) : take_signal(signal_)};
}

Command JobGrammar::take_wait() const {
    return JobWait{take_names(), scope_.take()};
}

Command JobGrammar::take_remove() const {
    return JobRemove{take_names(), scope_.take(), force_};
}

Command JobGrammar::take_prune() const {
    return JobPrune{scope_.take()};
}

const std::vector<std::string>& JobGrammar::take_names() const {
    for (const auto& name : names_) {
        check_name("job", name);
    }
    return names_;
}

} // namespace joblet::cli
