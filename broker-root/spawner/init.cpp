#include "broker-root/spawner/init.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <ctime>
#include <optional>

#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/process.h"
#include "broker-root/spawner/job.h"
#include "broker-root/spawner/launch.h"
#include "broker-root/spawner/log_writer.h"
#include "shared/datagram.h"

namespace joblet::spawner {

namespace {

constexpr int kFailed = 125;
constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kSecond = 1000 * kMillisecond;

// Of this many pieces of output before looking at anything else: more than a pipe of usual size holds.
constexpr int kPiecesPerPoll = 8;

// The clock of poll(2). It stands still while the host sleeps, as the job does: nobody's time is over when the host wakes up.
std::int64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * kSecond + now.tv_nsec;
}

void keep_earlier(std::optional<std::int64_t>& time, std::int64_t other) {
    time = std::min(time.value_or(other), other);
}

class Init {
  public:
    explicit Init(const InitStart& start) : start_(start), log_(start.log_files, start.log_bytes) {
        if (start.timeout_ns != 0) {
            terminate_at_ns_ = monotonic_ns() + start.timeout_ns;
        }
    }

    // An error names the step through `failed_step`.
    kernel::Result<void> give_up(const FilterProgram& filter, Step& failed_step);
    // Until the command has ended.
    ExitRecord watch();

  private:
    enum Source : std::uint8_t { kStart, kSignals, kControl, kStatus, kStdout, kStderr, kSources };

    void read_start_pipe();
    void read_request(Source source);
    void read_output(Source source);
    std::size_t read_piece(Source source);
    void drain_output();
    void pass_on(int signal);
    void signal_job(int signal) const;
    void end_job(int signal);
    void keep_deadlines();
    [[nodiscard]] int wait_ms() const;
    std::optional<siginfo_t> reap();
    [[nodiscard]] ExitRecord record_of(const siginfo_t& end) const;

    InitStart start_;
    std::array<pollfd, kSources> polled_{}; // fd -1: done with, poll(2) skips it
    StartFailure failure_;
    LogWriter log_;
    bool timed_out_ = false;
    int stop_is_due_ = 0;                         // the signal that asked for it
    std::optional<std::int64_t> terminate_at_ns_; // CLOCK_MONOTONIC
    std::optional<std::int64_t> kill_at_ns_;
};

kernel::Result<void> Init::give_up(const FilterProgram& filter, Step& failed_step) {
    failed_step = Step::DropCapabilities;
    kernel::set_process_name("joblet-init");
    if (const auto ids = kernel::become_job_supervisor(start_.user); !ids) {
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
    polled_[kControl] = {start_.is_detached ? -1 : start_.channels.control, POLLIN, 0};
    polled_[kStatus] = {start_.channels.status, POLLIN, 0};
    polled_[kStdout] = {start_.output[0], POLLIN, 0};
    polled_[kStderr] = {start_.output[1], POLLIN, 0};

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
        if (::poll(polled_.data(), polled_.size(), wait_ms()) < 0 && errno != EINTR) {
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
        for (const Source source : {kStdout, kStderr}) {
            if (polled_[source].revents != 0) {
                read_output(source);
            }
        }
        if (polled_[kSignals].revents != 0) {
            signalfd_siginfo arrived{};
            while (::read(polled_[kSignals].fd, &arrived, sizeof arrived) > 0) {
            }
            if (const auto end = reap()) {
                read_start_pipe(); // what it said may have come after poll(2) had looked at the pipe
                const ExitRecord record = record_of(*end);
                drain_output();
                return record;
            }
        }
        keep_deadlines(); // after the reaping: a command that has ended did so in time
        log_.settle(now_ns());
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
        if (stop_is_due_ != 0) {
            signal_job(stop_is_due_);
        }
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
        pass_on(static_cast<int>(request->signal));
        return;
    }
    // Gone, or no peer of ours. Without the broker the job runs on; without its rnx it does not
    polled_[source].fd = -1;
    if (source == kControl) {
        end_job(SIGHUP);
    }
}

void Init::read_output(Source source) {
    for (int piece = 0; piece < kPiecesPerPoll && read_piece(source) > 0; ++piece) {
    }
}

// 0: there is nothing, now or for good.
std::size_t Init::read_piece(Source source) {
    if (polled_[source].fd < 0) {
        return 0;
    }
    const auto room = log_.room();
    const ssize_t size = ::read(polled_[source].fd, room.data(), room.size());
    if (size > 0) {
        log_.append(source == kStdout ? LogStream::Stdout : LogStream::Stderr, now_ns(), static_cast<std::size_t>(size));
        return static_cast<std::size_t>(size);
    }
    if (size == 0 || (errno != EAGAIN && errno != EINTR)) { // no process has it open any more
        ::close(polled_[source].fd);
        polled_[source].fd = -1;
    }
    return 0;
}

// What is there when the command has ended, and no more: an orphan that goes on writing neither keeps the job from ending nor takes the
// place of the command's last words in the log.
void Init::drain_output() {
    for (const Source source : {kStdout, kStderr}) {
        int left = 0;
        if (polled_[source].fd < 0 || ::ioctl(polled_[source].fd, FIONREAD, &left) < 0) {
            continue;
        }
        while (left > 0) {
            const auto size = read_piece(source);
            if (size == 0) {
                break;
            }
            left -= static_cast<int>(size);
        }
    }
    log_.settle(now_ns());
}

// One that stops waits until the command runs: stopped before, the job would be starting for as long, and everybody who asks for
// something of it would wait.
void Init::pass_on(int signal) {
    const bool stops = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
    if (polled_[kStart].fd >= 0 && (stops || signal == SIGCONT)) {
        stop_is_due_ = stops ? signal : 0;
        return;
    }
    signal_job(signal);
}

// The whole group, as a terminal does it for Ctrl-C: a shell waits for what it started. Before the command is in a group of
// its own there is only the process.
void Init::signal_job(int signal) const {
    if (::kill(-start_.job, signal) < 0 && errno == ESRCH) {
        ::kill(start_.job, signal);
    }
}

// Asks first; whoever has not ended when the grace is over is killed.
void Init::end_job(int signal) {
    signal_job(signal);
    signal_job(SIGCONT); // a stopped one would never see it
    keep_earlier(kill_at_ns_, monotonic_ns() + kHangupGraceSeconds * kSecond);
}

void Init::keep_deadlines() {
    if (!terminate_at_ns_ && !kill_at_ns_) {
        return;
    }
    const std::int64_t now = monotonic_ns();
    if (terminate_at_ns_ && *terminate_at_ns_ <= now) {
        terminate_at_ns_.reset();
        timed_out_ = true;
        end_job(SIGTERM);
    }
    if (kill_at_ns_ && *kill_at_ns_ <= now) {
        kill_at_ns_.reset();
        ::kill(start_.job, SIGKILL); // what it leaves behind ends with this process
    }
}

// Until the next deadline, rounded up; and with output that was lost, not so long that nobody is told when the disk has room again.
int Init::wait_ms() const {
    std::optional<std::int64_t> until = terminate_at_ns_;
    if (kill_at_ns_) {
        keep_earlier(until, *kill_at_ns_);
    }
    if (!until && !log_.owes()) {
        return -1;
    }
    const std::int64_t now = monotonic_ns();
    if (log_.owes()) {
        keep_earlier(until, now + kSecond);
    }
    const std::int64_t left_ms = (*until - now + kMillisecond - 1) / kMillisecond;
    return static_cast<int>(std::clamp<std::int64_t>(left_ms, 0, INT_MAX));
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
    record.flags = timed_out_ ? kExitTimedOut : 0;
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
