// Waiting for what the kernel finishes on its own in a moment.
#pragma once

#include <chrono>
#include <thread>

#include "broker-root/kernel/result.h"

namespace joblet::worker {

// Calls `attempt` until it gives something else than the errno `not_yet`, or the time is over; then that is the result.
template <class T, class Attempt> kernel::Result<T> wait_while(int not_yet, std::chrono::milliseconds longest, const Attempt& attempt) {
    constexpr std::chrono::milliseconds kPause{2};
    const auto end = std::chrono::steady_clock::now() + longest;
    for (;;) {
        kernel::Result<T> result = attempt();
        if (result || result.error() != not_yet || std::chrono::steady_clock::now() >= end) {
            return result;
        }
        std::this_thread::sleep_for(kPause);
    }
}

} // namespace joblet::worker
