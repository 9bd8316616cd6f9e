#include "cli/run.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "cli/client.h"
#include "cli/job_control.h"
#include "cli/job_parts.h"
#include "cli/output.h"
#include "cli/raw_terminal.h"
#include "cli/terminal.h"
#include "cli/terminal_relay.h"
#include "shared/exit_record.h"

namespace joblet::cli {
namespace {

constexpr int kStatusOfSignal = 128; // and the signal's number
constexpr int kStatusKilled = kStatusOfSignal + SIGKILL;

using Environment = std::vector<std::string>;

// A job that was asked for, and our end of its control socket.
struct Asked {
    Fd control;
    std::optional<std::string> job; // nullopt: the daemon went away before it answered; then only `control` can tell whether there is one
};

// The connection ends here; a running job needs no daemon.
Asked start(const Run& run, const Environment& environment, const std::string& socket, int signals) {
    // What a signal is for is known when the job is there; a daemon that does not answer must not keep rnx from being ended
    constexpr auto kGrace = 2 * kj::SECONDS;
    Client client(socket);
    auto jobs = client.jobs();
    const auto opened = client.wait_unless_readable(signals, kGrace, jobs.openControlRequest().send());
    if (!opened) {
        end_by_signal();
    }
    const auto pair = value_of(opened->getResult());
    Asked asked{Fd(::fcntl(client.descriptor_of(pair.getEnd()), F_DUPFD_CLOEXEC, 0)), std::nullopt};
    send_hello(asked.control.get(), run);
    auto request = jobs.runRequest();
    fill(request.initRequest(), run, environment);
    request.getRequest().setControl(pair.getControl());
    try {
        const auto answer = client.wait_unless_readable(signals, kGrace, request.send());
        if (!answer) {
            end_by_signal();
        }
        asked.job = text_of(value_of(answer->getResult()).getJob().getId());
    } catch (const ConnectionLost&) { // NOLINT(bugprone-empty-catch)
        // See Asked::job
    }
    return asked;
}

// Nothing of ours stays with these: a detached job, or none.
int show_answer(const Run& run, const Environment& environment, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.jobs().runRequest();
    fill(request.initRequest(), run, environment);
    const auto answer = client.wait(request.send());
    const auto started = value_of(answer.getResult());
    if (run.dry_run) {
        write_stdout(render_world(view_of(started.getWorld()), line.format));
    } else {
        const auto job = view_of(started.getJob());
        write_stdout(line.format == Format::Table ? printable(job.id) + "\n" : render_job(job, line.format));
    }
    return 0;
}

void say_why_not_started(const ExitRecord& record, const Run& run, Format format) {
    const std::string reason = std::strerror(record.sys_errno);
    if (record.kind == ExitKind::SetupFailed && record.step == Step::CheckStdio) {
        write_stderr(
            render_error({ErrorCode::InvalidArgument, "stdin, stdout or stderr is something that no job may have",
                          "each can be a pipe, a socket, a terminal, /dev/null or a regular file, but no file of /proc, /sys or their kin"},
                         format));
    } else if (record.kind == ExitKind::SetupFailed) {
        write_stderr(render_error({ErrorCode::Internal,
                                   "the job could not be started: could not " + std::string(step_phrase(record.step)) + ": " + reason,
                                   "the daemon's log may say more"},
                                  format));
    } else if (record.kind == ExitKind::ExecFailed && record.sys_errno == ENOENT) {
        write_stderr(render_error({ErrorCode::NotFound, run.command.front() + ": not found",
                                   "a job sees the programs of its base and of its volumes, not those of this host"},
                                  format));
    } else if (record.kind == ExitKind::ExecFailed) {
        write_stderr(render_error({ErrorCode::InvalidArgument, run.command.front() + ": could not be executed: " + reason,
                                   "it must be an executable file for this machine"},
                                  format));
    }
}

// What the daemon says of the end of a job, within `patience`.
std::optional<ExitView> exit_of(const std::string& job, const std::string& socket, kj::Duration patience) {
    Client client(socket);
    auto request = client.jobs().waitRequest();
    fill(request.getSelector(), job);
    const auto answer = client.wait_at_most(patience, request.send());
    return view_of(value_of(answer.getResult())).exit;
}

// A job that was killed cannot say why.
void say_why_killed(const std::string& job, const CommandLine& line) {
    constexpr auto kPatience = 2 * kj::SECONDS;
    try {
        const auto exit = exit_of(job, line.socket, kPatience);
        if (exit && exit->reason.contains("memory")) {
            write_stderr("rnx: the job ended for want of memory: " + printable(exit->reason) + "\n");
        }
    } catch (const CommandFailure&) { // NOLINT(bugprone-empty-catch)
        // It would only have been a better message: the status says that the job was killed.
    }
}

// The control socket hung up without a record: the job's pid 1 was killed, or never came to be. Only the daemon can know.
int ask_how_it_ended(const std::string& job, const CommandLine& line) {
    constexpr auto kPatience = 10 * kj::SECONDS;
    Error error{ErrorCode::Unavailable, "the job " + job + " ended without saying how", "it was probably killed"};
    int status = kStatusKilled;
    try {
        if (const auto exit = exit_of(job, line.socket, kPatience)) {
            status = static_cast<int>(exit->status);
            error.code = ErrorCode::Internal;
            error.message = "the job " + job + " ended without an exit record: " + exit->reason;
            error.hint = "all its processes were killed at once, by request or because memory ran out";
        }
    } catch (const CommandFailure& failure) {
        error.message += ", and the daemon could not tell: " + failure.error().message;
    }
    write_stderr(render_error(error, line.format));
    return status;
}

int report(const std::optional<ExitRecord>& record, const std::optional<std::string>& job, const Run& run, const CommandLine& line) {
    if (!record && !job) {
        throw CommandFailure({ErrorCode::Unavailable, "the daemon went away before the job was started", std::string(kLostHint)});
    }
    if (!record) {
        return ask_how_it_ended(*job, line);
    }
    say_why_not_started(*record, run, line.format);
    if ((record->flags & kExitTimedOut) != 0) {
        write_stderr("rnx: the job was ended by its timeout\n");
    } else if (record->kind == ExitKind::Signaled && record->signal == SIGKILL && job) {
        say_why_killed(*job, line);
    }
    return exit_status_of(*record);
}

// The caller's terminal is raw only in here.
RelayEnd connect_terminals(int control, int signals, const Opened& opened, Fd master) {
    const bool input_is_terminal = window_size(STDIN_FILENO).has_value();
    const bool output_is_terminal = window_size(STDOUT_FILENO).has_value();
    std::optional<RawTerminal> raw;
    if (input_is_terminal) {
        raw.emplace(STDIN_FILENO);
    }
    const RelayEnds ends{.control = control,
                         .signals = signals,
                         .input = STDIN_FILENO,
                         .output = opened.output.valid() ? opened.output.get() : STDOUT_FILENO,
                         .input_is_terminal = input_is_terminal,
                         .output_blocks = output_is_terminal && !opened.output.valid()};
    return relay_terminal(ends, std::move(master));
}

} // namespace

int run_job(const Run& run, const Opened& opened, const CommandLine& line) {
    const auto environment = environment_of(run, opened);
    if (run.detached || run.dry_run) {
        return show_answer(run, environment, line);
    }
    check_stdio(run);
    // From here on signals are the job's, which may be running before the daemon's answer is here. If there is no answer, they do to
    // rnx what they always do: our end of the socket closes with it, and a job that comes to be all the same is told to hang up.
    const Fd early_signals = take_over_signals();
    const auto [control, job] = start(run, environment, line.socket, early_signals.get());
    const Fd signals = take_over_signals(run.terminal ? WindowSize::Watched : WindowSize::Ignored);
    auto from_job = follow_job(control.get(), signals.get());
    if (run.terminal && from_job.terminal.valid()) {
        std::signal(SIGPIPE, SIG_IGN); // it would leave the terminal raw; the write says it, too
        const auto end = connect_terminals(control.get(), signals.get(), opened, std::move(from_job.terminal));
        // Our end of the socket closes with rnx: to the job that is a hang-up.
        if (end.kind != RelayEnd::Kind::Ended) {
            return kStatusOfSignal + (end.kind == RelayEnd::Kind::InputGone ? SIGHUP : SIGPIPE);
        }
        return report(end.record, job, run, line);
    }
    return report(from_job.record, job, run, line);
}

} // namespace joblet::cli
