// How soon a process that died is started again: at once, unless it keeps dying as soon as it starts.
#pragma once

#include <chrono>

namespace joblet::jobletd {

using Clock = std::chrono::steady_clock;

class RestartPace {
  public:
    static constexpr std::chrono::seconds kFast{1};  // a life shorter than this counts as a fast death
    static constexpr int kFastDeathsAllowed = 5;     // in a row
    static constexpr std::chrono::seconds kPause{1}; // from then on

    // The process lived from `started` to `ended`; returns when the next one may start.
    Clock::time_point after_death(Clock::time_point started, Clock::time_point ended) {
        fast_deaths_ = ended - started < kFast ? fast_deaths_ + 1 : 0;
        return fast_deaths_ < kFastDeathsAllowed ? ended : ended + kPause;
    }

  private:
    int fast_deaths_ = 0;
};

} // namespace joblet::jobletd
