#include "cli/job_control.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>
#include <string>

#include "cli/failure.h"
#include "shared/datagram.h"

namespace joblet::cli {
namespace {

constexpr std::array kPassedOn = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

bool is_ignored(int signal) {
    struct sigaction current{};
    return ::sigaction(signal, nullptr, &current) == 0 && current.sa_handler == SIG_IGN;
}

[[noreturn]] void fail(const char* what) {
    throw CommandFailure({ErrorCode::Internal, std::string(what) + ": " + std::strerror(errno), ""});
}

void pass_on(int control, int signals) {
    signalfd_siginfo info{};
    if (::read(signals, &info, sizeof info) != sizeof info) {
        return;
    }
    // A job that does not take its signals may lose some, as it would from the kernel. One that has ended is noticed at the
    // socket in any case.
    (void)send_message(control, ControlRequest{ControlKind::Signal, info.ssi_signo}, {}, Wait::No);
}

std::optional<ExitRecord> read_record(int control) {
    ExitRecord record;
    const auto received = receive_datagram(control, std::as_writable_bytes(std::span(&record, 1)), Wait::Yes);
    if (!received || received->size != sizeof record || !is_valid(record)) {
        return std::nullopt;
    }
    return record;
}

} // namespace

Fd take_over_signals() {
    sigset_t taken;
    sigemptyset(&taken);
    for (const int signal : kPassedOn) {
        if (!is_ignored(signal)) {
            sigaddset(&taken, signal);
        }
    }
    if (::sigprocmask(SIG_BLOCK, &taken, nullptr) != 0) {
        fail("could not block signals");
    }
    Fd signals(::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals.valid()) {
        fail("could not make a signalfd");
    }
    return signals;
}

std::optional<ExitRecord> follow_job(int control, int signals) {
    std::array<pollfd, 2> watched{{{.fd = control, .events = POLLIN}, {.fd = signals, .events = POLLIN}}};
    for (;;) {
        if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) {
            fail("could not wait for the job");
        }
        if (watched[0].revents != 0) {
            return read_record(control);
        }
        if (watched[1].revents != 0) {
            pass_on(control, signals);
        }
    }
}

} // namespace joblet::cli
