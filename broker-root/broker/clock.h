// Wall-clock time as records carry it.
#pragma once

#include <cstdint>
#include <ctime>

namespace joblet::broker {

// CLOCK_REALTIME, ns since 1970.
inline std::int64_t realtime_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

} // namespace joblet::broker
