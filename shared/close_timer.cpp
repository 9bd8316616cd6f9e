#include "shared/close_timer.h"

#include <sys/time.h>

#include <csignal>

namespace joblet {

namespace {

constexpr suseconds_t kFirstMicroseconds = 5000;
constexpr suseconds_t kNextMicroseconds = 1000;

bool is_prepared = false; // before there is a second thread

void interrupt(int /*signal*/) {}

} // namespace

bool CloseTimer::prepare() {
    struct sigaction action{};
    action.sa_handler = interrupt;
    action.sa_flags = SA_RESTART;
    is_prepared = ::sigaction(SIGALRM, &action, nullptr) == 0;
    return is_prepared;
}

void CloseTimer::start() {
    if (is_prepared) {
        const itimerval often{{0, kNextMicroseconds}, {0, kFirstMicroseconds}};
        ::setitimer(ITIMER_REAL, &often, nullptr);
    }
}

void CloseTimer::stop() {
    if (is_prepared) {
        const itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
    }
}

} // namespace joblet
