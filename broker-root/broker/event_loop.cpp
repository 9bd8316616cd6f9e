#include "broker-root/broker/event_loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "shared/close_timer.h"

namespace joblet::broker {

EventLoop::EventLoop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_.valid()) {
        std::abort();
    }
}

EventLoop::Watch EventLoop::watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> callback) {
    const Watch number = next_++;
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        std::abort(); // a descriptor nobody watches would be an event lost for ever
    }
    watches_.emplace(number, std::make_shared<Watched>(fd, std::move(callback)));
    return number;
}

void EventLoop::change(Watch watch, std::uint32_t events) {
    if (const auto found = watches_.find(watch); found != watches_.end()) {
        epoll_event event{};
        event.events = events;
        event.data.u64 = watch;
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, found->second->fd, &event);
    }
}

void EventLoop::forget(Watch watch) {
    if (const auto found = watches_.find(watch); found != watches_.end()) {
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second->fd, nullptr);
        watches_.erase(found);
    }
}

EventLoop::Timer EventLoop::after(std::chrono::milliseconds delay, std::function<void()> callback) {
    Timer timer{Clock::now() + delay, next_++};
    timers_.emplace(timer, std::move(callback));
    return timer;
}

void EventLoop::cancel(const Timer& timer) {
    timers_.erase(timer);
}

void EventLoop::run_ready() {
    while (!ready_.empty()) {
        const auto coroutine = ready_.front();
        ready_.pop_front();
        coroutine.resume();
    }
}

int EventLoop::timeout_ms() const {
    if (timers_.empty()) {
        return -1;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first.first - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000));
}

void EventLoop::run_timers() {
    const auto now = Clock::now();
    while (!timers_.empty() && timers_.begin()->first.first <= now) {
        const auto callback = std::move(timers_.begin()->second);
        timers_.erase(timers_.begin());
        callback();
    }
}

void EventLoop::run() {
    std::array<epoll_event, 64> events{};
    CloseTimer::start();
    while (!stopped_) {
        run_ready();
        if (stopped_) {
            break;
        }
        CloseTimer::stop();
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms());
        if (count < 0 && errno != EINTR) {
            std::abort();
        }
        CloseTimer::start(); // clients' sockets are among what is closed in a turn
        for (int i = 0; i < count; ++i) {
            const auto& event = events[static_cast<std::size_t>(i)];
            const std::uint64_t watch = event.data.u64; // packed: nothing may refer to it
            // The copy keeps the callback alive while it runs, also if it forgets its own watch
            if (const auto found = watches_.find(watch); found != watches_.end()) {
                const auto watched = found->second;
                watched->callback(event.events);
            }
        }
        run_timers();
    }
    CloseTimer::stop();
}

} // namespace joblet::broker
