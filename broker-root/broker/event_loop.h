// One thread, one epoll set: descriptors, timers, and coroutines that are ready to go on.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>

#include "shared/fd.h"

namespace joblet::broker {

class EventLoop {
  public:
    using Clock = std::chrono::steady_clock;
    // A watched descriptor; events for a watch that was forgotten are never delivered, also when its number was reused.
    using Watch = std::uint64_t;
    using Timer = std::pair<Clock::time_point, std::uint64_t>;

    EventLoop(); // ends the process if there can be no epoll set

    // events: EPOLLIN and so on; the callback gets what happened. The descriptor must outlive the watch.
    Watch watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> callback);
    void change(Watch watch, std::uint32_t events);
    void forget(Watch watch);

    Timer after(std::chrono::milliseconds delay, std::function<void()> callback);
    void cancel(const Timer& timer);

    // Resumed from the loop, never from inside the caller: nobody's state changes under his hands.
    void resume_later(std::coroutine_handle<> coroutine) {
        ready_.push_back(coroutine);
    }

    void run(); // until stop()
    void stop() {
        stopped_ = true;
    }

  private:
    struct Watched {
        int fd;
        std::function<void(std::uint32_t)> callback;
    };

    void run_ready();
    [[nodiscard]] int timeout_ms() const;
    void run_timers();

    Fd epoll_;
    std::uint64_t next_ = 1;
    std::unordered_map<Watch, std::shared_ptr<Watched>> watches_;
    std::map<Timer, std::function<void()>> timers_;
    std::deque<std::coroutine_handle<>> ready_;
    bool stopped_ = false;
};

} // namespace joblet::broker
