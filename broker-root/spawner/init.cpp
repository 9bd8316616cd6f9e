#include "broker-root/spawner/init.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <optional>

#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/process.h"
#include "broker-root/spawner/job.h"
#include "broker-root/spawner/launch.h"
#include "shared/datagram.h"

namespace joblet::spawner {

namespace {

constexpr int kFailed = 125;
constexpr std::int64_t kMillisecond = 1'000'000;

std::int64_t monotonic_ms() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / kMillisecond;
}

class Init {
  public:
    explicit Init(const InitStart& start) : start_(start) {}

    // An error names the step through `failed_step`.
    kernel::Result<void> give_up(const FilterProgram& filter, Step& failed_step);
    // Until the command has ended.
    ExitRecord watch();

  private:
    enum Source : std::uint8_t { kStart, kSignals, kControl, kStatus, kSources };

    void read_start_pipe();
    void read_request(Source source);
    void signal_job(int signal) const;
    void hang_up();
    [[nodiscard]] int timeout_ms();
    std::optional<siginfo_t> reap();
    [[nodiscard]] ExitRecord record_of(const siginfo_t& end) const;

    InitStart start_;
    std::array<pollfd, kSources> polled_{}; // fd -1: done with, poll(2) skips it
    StartFailure failure_;
    std::optional<std::int64_t> kill_at_ms_; // CLOCK_MONOTONIC
};

kernel::Result<void> Init::give_up(const FilterProgram& filter, Step& failed_step) {
    failed_step = Step::DropCapabilities;
    kernel::set_process_name("joblet-init");
    if (const auto ids = kernel::become_job_supervisor(); !ids) {
        return ids;
    }
    if (const auto dropped = kernel::set_capabilities(0); !dropped) {
        return dropped;
    }
    if (const auto hidden = kernel::set_dumpable(false); !hidden) {
        return hidden;
    }
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    const int signals = ::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        return kernel::last_errno();
    }
    polled_[kStart] = {start_.start_pipe, POLLIN, 0};
    polled_[kSignals] = {signals, POLLIN, 0};
    polled_[kControl] = {start_.channels.control, POLLIN, 0};
    polled_[kStatus] = {start_.channels.status, POLLIN, 0};

    failed_step = Step::InstallFilter;
    if (const int error = install_filter(filter); error != 0) {
        return std::unexpected(error);
    }
    // Whoever reads the job's output waits for the last copy of it to be closed
    for (const int stdio : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        ::close(stdio);
    }
    return {};
}

ExitRecord Init::watch() {
    for (;;) {
        if (::poll(polled_.data(), polled_.size(), timeout_ms()) < 0 && errno != EINTR) {
            return setup_failure(Step::ForkJob, errno);
        }
        // First of all, so that the broker hears Running before Ended, and a failed exec is known when its process is reaped
        if (polled_[kStart].revents != 0) {
            read_start_pipe();
        }
        for (const Source source : {kStatus, kControl}) {
            if (polled_[source].revents != 0) {
                read_request(source);
            }
        }
        if (polled_[kSignals].revents != 0) {
            signalfd_siginfo arrived{};
            while (::read(polled_[kSignals].fd, &arrived, sizeof arrived) > 0) {
            }
            if (const auto end = reap()) {
                read_start_pipe(); // what it said may have come after poll(2) had looked at the pipe
                return record_of(*end);
            }
        }
    }
}

void Init::read_start_pipe() {
    if (polled_[kStart].fd < 0) {
        return;
    }
    StartFailure failure;
    const ssize_t size = ::read(start_.start_pipe, &failure, sizeof failure);
    if (size < 0) {
        return;
    }
    if (size == static_cast<ssize_t>(sizeof failure)) {
        failure_ = failure;
    } else {
        send_message(start_.channels.status, StageReport{.type = StageReportType::Running}, {}, Wait::No);
    }
    polled_[kStart].fd = -1;
}

// One at a time, so that a peer that never stops cannot keep children from being reaped. Without a control buffer: descriptors
// that rnx might send are dropped by the kernel.
void Init::read_request(Source source) {
    std::array<std::byte, sizeof(ControlRequest) + 1> buffer{};
    const ssize_t size = ::recv(polled_[source].fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    const auto request = decode_control(std::span<const std::byte>(buffer).first(size > 0 ? static_cast<std::size_t>(size) : 0));
    if (request) {
        signal_job(static_cast<int>(request->signal));
        return;
    }
    // Gone, or no peer of ours. Without the broker the job runs on; without its rnx it does not
    polled_[source].fd = -1;
    if (source == kControl) {
        hang_up();
    }
}

// The whole group, as a terminal does it for Ctrl-C: a shell waits for what it started. Before the command is in a group of
// its own there is only the process.
void Init::signal_job(int signal) const {
    if (::kill(-start_.job, signal) < 0 && errno == ESRCH) {
        ::kill(start_.job, signal);
    }
}

void Init::hang_up() {
    signal_job(SIGHUP);
    signal_job(SIGCONT); // a stopped one would never see it
    kill_at_ms_ = monotonic_ms() + std::int64_t{kHangupGraceSeconds} * 1000;
}

int Init::timeout_ms() {
    if (!kill_at_ms_) {
        return -1;
    }
    const std::int64_t left = *kill_at_ms_ - monotonic_ms();
    if (left > 0) {
        return static_cast<int>(left);
    }
    kill_at_ms_.reset();
    ::kill(start_.job, SIGKILL); // what it leaves behind ends with this process
    return -1;
}

std::optional<siginfo_t> Init::reap() {
    std::optional<siginfo_t> end;
    for (;;) {
        siginfo_t child{};
        if (::waitid(P_ALL, 0, &child, WEXITED | WNOHANG) < 0 || child.si_pid == 0) {
            return end;
        }
        if (child.si_pid == start_.job) {
            end = child;
        }
    }
}

ExitRecord Init::record_of(const siginfo_t& end) const {
    ExitRecord record;
    record.magic = kExitMagic;
    record.started_ns = start_.started_ns;
    record.ended_ns = now_ns();
    if (failure_.step != Step::None) {
        record.kind = failure_.step == Step::Exec ? ExitKind::ExecFailed : ExitKind::SetupFailed;
        record.step = failure_.step;
        record.sys_errno = failure_.sys_errno;
    } else if (end.si_code == CLD_EXITED) {
        record.kind = ExitKind::Exited;
        record.code = end.si_status;
    } else {
        record.kind = ExitKind::Signaled;
        record.signal = end.si_status;
    }
    return record;
}

} // namespace

void run_init(const InitStart& start, const FilterProgram& filter) noexcept {
    Init init(start);
    Step step = Step::None;
    const auto given_up = init.give_up(filter, step);
    if (!given_up) {
        publish_exit(start.channels, setup_failure(step, given_up.error()));
        ::_exit(kFailed);
    }
    publish_exit(start.channels, init.watch());
    ::_exit(0);
}

} // namespace joblet::spawner
