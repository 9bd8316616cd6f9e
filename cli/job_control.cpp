#include "cli/job_control.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <utility>

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

} // namespace

Fd take_over_signals(WindowSize window) {
    sigset_t taken;
    sigemptyset(&taken);
    if (window == WindowSize::Watched) {
        sigaddset(&taken, SIGWINCH);
    }
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

void end_by_signal() {
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_UNBLOCK, &all, nullptr); // what waits is delivered before this returns
    throw CommandFailure({ErrorCode::Unavailable, "ended by a signal before the job was started", ""});
}

int next_signal(int signals) {
    signalfd_siginfo info{};
    return ::read(signals, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

void pass_on(int control, int signal) {
    // A job that has ended is noticed at the socket in any case.
    (void)send_message(control, ControlRequest{ControlKind::Signal, static_cast<std::uint32_t>(signal)}, {}, Wait::No);
}

FromJob receive_from_job(int control) {
    FromJob from;
    std::array<std::byte, sizeof(ExitRecord)> bytes{};
    auto received = receive_datagram(control, bytes, Wait::Yes);
    if (!received) {
        return from;
    }
    ControlTerminal terminal;
    ExitRecord record;
    if (received->size == sizeof terminal && received->descriptors.size() == 1) {
        std::memcpy(&terminal, bytes.data(), sizeof terminal);
        if (terminal.magic == kTerminalMagic && terminal.zero == 0) {
            from.terminal = std::move(received->descriptors.front());
        }
    } else if (received->size == sizeof record && received->descriptors.empty()) {
        std::memcpy(&record, bytes.data(), sizeof record);
        if (is_valid(record)) {
            from.record = record;
        }
    }
    return from;
}

FromJob follow_job(int control, int signals) {
    std::array<pollfd, 2> watched{{{.fd = control, .events = POLLIN}, {.fd = signals, .events = POLLIN}}};
    for (;;) {
        if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) {
            fail("could not wait for the job");
        }
        if (watched[0].revents != 0) {
            return receive_from_job(control);
        }
        if (watched[1].revents != 0) {
            if (const int signal = next_signal(signals); signal != 0 && signal != SIGWINCH) {
                pass_on(control, signal);
            }
        }
    }
}

} // namespace joblet::cli
