// Coroutines of the broker: an operation that orders something of a worker, waits for it, and goes on, reads as one function.
// They are never cancelled: what they wait for always comes, because a worker that dies or hangs answers by its death or its
// deadline. An exception in one ends the process; nothing here throws but for want of memory.
#pragma once

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "broker-root/broker/event_loop.h"

namespace joblet::broker {

// Runs at once up to its first wait; nobody awaits it.
struct Detached {
    struct promise_type {
        Detached get_return_object() {
            return {};
        }
        std::suspend_never initial_suspend() noexcept {
            return {};
        }
        std::suspend_never final_suspend() noexcept {
            return {};
        }
        void return_void() {}
        [[noreturn]] void unhandled_exception() {
            std::terminate();
        }
    };
};

// Started when it is awaited; awaited exactly once.
template <class T> class [[nodiscard]] Task {
  public:
    struct promise_type {
        std::optional<T> value;
        std::coroutine_handle<> waiter;

        Task get_return_object() {
            return Task(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() noexcept {
            return {};
        }
        auto final_suspend() noexcept {
            struct Awaiter {
                [[nodiscard]] bool await_ready() const noexcept {
                    return false;
                }
                std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
                    return self.promise().waiter;
                }
                void await_resume() const noexcept {}
            };
            return Awaiter{};
        }
        void return_value(T result) {
            value.emplace(std::move(result));
        }
        [[noreturn]] void unhandled_exception() {
            std::terminate();
        }
    };

    Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
    Task& operator=(Task&&) = delete;
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    ~Task() {
        if (coroutine_) {
            coroutine_.destroy();
        }
    }

    [[nodiscard]] bool await_ready() const noexcept {
        return false;
    }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) {
        coroutine_.promise().waiter = waiter;
        return coroutine_;
    }
    T await_resume() {
        return std::move(*coroutine_.promise().value);
    }

  private:
    explicit Task(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}

    std::coroutine_handle<promise_type> coroutine_;
};

// One value, set once, awaited by one coroutine, in either order. Copies share it.
template <class T> class Completion {
  public:
    explicit Completion(EventLoop& loop) : state_(std::make_shared<State>(&loop)) {}

    void set(T value) const {
        if (!state_->value) {
            state_->value.emplace(std::move(value));
            if (state_->waiter) {
                state_->loop->resume_later(state_->waiter);
            }
        }
    }
    [[nodiscard]] bool await_ready() const noexcept {
        return state_->value.has_value();
    }
    void await_suspend(std::coroutine_handle<> waiter) {
        state_->waiter = waiter;
    }
    T await_resume() {
        return std::move(*state_->value);
    }

  private:
    struct State {
        explicit State(EventLoop* l) : loop(l) {}
        EventLoop* loop;
        std::optional<T> value;
        std::coroutine_handle<> waiter;
    };
    std::shared_ptr<State> state_;
};

// Any number of coroutines wait for something that happens once: a job's release, a name's being free again.
class Gate {
  public:
    explicit Gate(EventLoop& loop) : state_(std::make_shared<State>(&loop)) {}

    void open() const {
        state_->open = true;
        for (const auto waiter : std::exchange(state_->waiters, {})) {
            state_->loop->resume_later(waiter);
        }
    }
    [[nodiscard]] bool await_ready() const noexcept {
        return state_->open;
    }
    void await_suspend(std::coroutine_handle<> waiter) const {
        state_->waiters.push_back(waiter);
    }
    void await_resume() const noexcept {}

  private:
    struct State {
        explicit State(EventLoop* l) : loop(l) {}
        EventLoop* loop;
        bool open = false;
        std::deque<std::coroutine_handle<>> waiters;
    };
    std::shared_ptr<State> state_;
};

} // namespace joblet::broker
