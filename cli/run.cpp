#include "cli/run.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "cli/client.h"
#include "cli/job_control.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "shared/datagram.h"
#include "shared/exit_record.h"
#include "shared/stdio_kind.h"

namespace joblet::cli {
namespace {

constexpr int kStatusKilled = 137; // as after SIGKILL

class DescriptorServer final : public rpc::Descriptor::Server {
  public:
    explicit DescriptorServer(Fd fd) : fd_(std::move(fd)) {}
    kj::Maybe<int> getFd() override {
        return fd_.get();
    }

  private:
    Fd fd_;
};

void check_stdio() {
    constexpr std::array kNames = {"standard input", "standard output", "standard error"};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (!is_acceptable_stdio(fd)) {
            throw CommandFailure({ErrorCode::InvalidArgument,
                                  std::string(kNames.at(static_cast<std::size_t>(fd))) + " is something that no job may have",
                                  "it can be a pipe, a socket, a regular file, a terminal or /dev/null; redirect it, or put 'cat |' or "
                                  "'| cat' in between"});
        }
    }
}

void fill(rpc::RunRequest::Builder request, const Run& run) {
    auto command = request.initCommand(static_cast<unsigned>(run.command.size()));
    for (unsigned i = 0; i < command.size(); ++i) {
        command.set(i, run.command[i]);
    }
    auto volumes = request.initVolumes(static_cast<unsigned>(run.volumes.size()));
    for (unsigned i = 0; i < volumes.size(); ++i) {
        volumes[i].setVolume(run.volumes[i].name);
        volumes[i].setTarget(run.volumes[i].target);
        volumes[i].setReadOnly(run.volumes[i].read_only);
    }
}

// The job's control socket: our end, in which stdin, stdout and stderr already wait for the job, and the job's.
std::pair<Fd, Fd> make_control_pair() {
    auto pair = make_seqpacket_pair();
    constexpr std::array kStdio = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    if (!send_message(pair.first.get(), ControlHello{kHelloMagic}, kStdio, Wait::No)) {
        throw CommandFailure(
            {ErrorCode::Internal, std::string("could not hand over standard input and output: ") + std::strerror(errno), ""});
    }
    return pair;
}

// The job's id; nullopt if the daemon went away before it answered: then only the control socket can tell whether there is
// a job. The connection ends here; a running job needs no daemon. `control` is the job's end.
std::optional<std::string> start(const Run& run, const std::string& socket, Fd control) {
    Client client(socket);
    auto request = client.jobs().runRequest();
    fill(request.initRequest(), run);
    request.getRequest().setControl(kj::heap<DescriptorServer>(std::move(control)));
    try {
        const auto answer = client.wait(request.send());
        return text_of(value_of(answer.getResult()).getJob().getId());
    } catch (const ConnectionLost&) {
        return std::nullopt;
    }
}

int report(const ExitRecord& record, const Run& run, Format format) {
    const int status = exit_status_of(record);
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
    return status;
}

// The control socket hung up without a record: the job's pid 1 was killed, or never came to be. Only the daemon can know.
int ask_how_it_ended(const std::string& job, const CommandLine& line) {
    constexpr auto kPatience = 10 * kj::SECONDS;
    Error error{ErrorCode::Unavailable, "the job " + job + " ended without saying how", "it was probably killed"};
    int status = kStatusKilled;
    try {
        Client client(line.socket);
        auto request = client.jobs().waitRequest();
        request.getSelector().setJob(job);
        const auto answer = client.wait_at_most(kPatience, request.send());
        const auto exit = value_of(answer.getResult()).getExit();
        if (exit.getKind() != rpc::Exit::Kind::NONE) {
            status = exit.getStatus();
            error.code = ErrorCode::Internal;
            error.message = "the job " + job + " ended without an exit record: " + text_of(exit.getReason());
            error.hint = "all its processes were killed at once, by request or because memory ran out";
        }
    } catch (const CommandFailure& failure) {
        error.message += ", and the daemon could not tell: " + failure.error().message;
    }
    write_stderr(render_error(error, line.format));
    return status;
}

} // namespace

int run_job(const Run& run, const CommandLine& line) {
    check_stdio();
    auto [ours, theirs] = make_control_pair();
    // Until the job is started, signals do to rnx what they always do. Our end of the socket closes with it, and a job that
    // comes to be all the same is told to hang up.
    const auto job = start(run, line.socket, std::move(theirs));
    const Fd signals = take_over_signals();
    if (const auto record = follow_job(ours.get(), signals.get())) {
        return report(*record, run, line.format);
    }
    if (!job) {
        throw CommandFailure({ErrorCode::Unavailable, "the daemon went away before the job was started", std::string(kLostHint)});
    }
    return ask_how_it_ended(*job, line);
}

} // namespace joblet::cli
