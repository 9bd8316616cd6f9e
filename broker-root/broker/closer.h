// Closing a file of somebody else's may take long, and some of that nothing interrupts: the kernel frees the blocks of a large deleted
// file for whoever drops its last reference. Such files lie in the queues of sockets that clients have the other end of. So the
// broker closes none of these sockets itself: a process without power does it, and may take as long as it likes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <string>
#include <utility>

#include "broker-root/broker/event_loop.h"
#include "shared/fd.h"

namespace joblet::broker {

class Closer {
  public:
    enum class Task : std::uint8_t { Close = 1, Drain = 2 };

    // Forks; call before the filter is there, and after CloseTimer::prepare(). The socket to that process, or a sentence.
    static std::expected<Fd, std::string> start();

    // has_room: called when there is room again. Without that process the loop ends: the broker is started again, and another one with it.
    Closer(EventLoop& loop, Fd socket, std::function<void()> has_room);

    // Closed there. Never waits.
    void close(Fd file);
    // Likewise of a socket that others here have, too: it is shut down, and what is in its queue is closed there, so that nothing is left
    // for whoever closes it last.
    void drain(Fd socket);
    // No new client is accepted while so much is to be closed.
    [[nodiscard]] bool is_full() const {
        return waiting_.size() >= kWaitingMax;
    }

  private:
    static constexpr std::size_t kWaitingMax = 1024;

    void add(Fd file, Task task);
    void flush();

    EventLoop& loop_;
    Fd socket_;
    std::function<void()> has_room_;
    std::deque<std::pair<Fd, Task>> waiting_;
    bool is_due_ = false;
};

// A socket that a client has the other end of. Its end is its closing by the closer.
class ClientEnd {
  public:
    ClientEnd() = default;
    ClientEnd(Closer& closer, Fd fd) : closer_(&closer), fd_(std::move(fd)) {}
    ClientEnd(ClientEnd&&) = default;
    ClientEnd& operator=(ClientEnd&& other) noexcept {
        std::swap(closer_, other.closer_);
        std::swap(fd_, other.fd_);
        return *this;
    }
    ClientEnd(const ClientEnd&) = delete;
    ClientEnd& operator=(const ClientEnd&) = delete;
    ~ClientEnd() {
        if (fd_.valid()) {
            closer_->close(std::move(fd_));
        }
    }

    [[nodiscard]] bool valid() const {
        return fd_.valid();
    }
    // Once more, to be handed over to somebody who closes it before this ends. Not valid, with errno, if there is no descriptor left.
    [[nodiscard]] Fd duplicate() const;

  private:
    Closer* closer_ = nullptr;
    Fd fd_;
};

} // namespace joblet::broker
