#include "broker-root/broker/closer.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstring>

#include <fmt/format.h>

#include "broker-root/broker/filter_table.h"
#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/process.h"
#include "shared/close_timer.h"
#include "shared/datagram.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

constexpr int kSocketFd = 3;  // after stdin, stdout and stderr
constexpr int kEmptyMax = 16; // where urgent data was, a queue may look as if it had ended
constexpr std::chrono::milliseconds kAgain{10};

struct Order {
    int fd = -1;
    Closer::Task task = Closer::Task::Close;
};

// False: the broker is gone.
bool receive(Order& order) {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
    iovec part{&order.task, sizeof order.task};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    if (::recvmsg(kSocketFd, &header, MSG_CMSG_CLOEXEC) <= 0) {
        return false;
    }
    const cmsghdr* const entry = CMSG_FIRSTHDR(&header);
    if (entry != nullptr && entry->cmsg_type == SCM_RIGHTS) {
        std::memcpy(&order.fd, CMSG_DATA(entry), sizeof order.fd);
    }
    return true;
}

// Without room for descriptors: those that come are closed at once, and never in this process's table.
void empty_queue(int socket) {
    static std::array<char, 65536> bytes;
    ::shutdown(socket, SHUT_RDWR);
    for (int empty = 0; empty < kEmptyMax;) {
        iovec part{bytes.data(), bytes.size()};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        const ssize_t size = ::recvmsg(socket, &header, MSG_DONTWAIT);
        if (size < 0 && errno != EINTR) {
            return;
        }
        empty += size == 0 ? 1 : 0;
    }
}

// The child. No allocation from here on. It ends with the broker, also if it is stopped.
[[noreturn]] void serve(int socket, const FilterProgram& filter) {
    kernel::set_process_name("joblet-closer");
    if (::dup2(socket, kSocketFd) != kSocketFd || ::close_range(kSocketFd + 1, UINT_MAX, 0) != 0 || !kernel::drop_bounding(0) ||
        !kernel::confine_process(0) || ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || install_filter(filter) != 0) {
        ::_exit(1);
    }
    for (Order order; receive(order); order = {}) {
        CloseTimer::start();
        if (order.task == Closer::Task::Drain) {
            empty_queue(order.fd);
        }
        ::close(order.fd);
        CloseTimer::stop();
    }
    ::_exit(0);
}

} // namespace

std::expected<Fd, std::string> Closer::start() {
    const auto filter = compile_filter(closer_calls(), {}, OtherCalls::KillProcess);
    if (!filter) {
        return std::unexpected(filter.error());
    }
    auto [ours, theirs] = make_seqpacket_pair();
    const pid_t child = ::fork();
    if (child < 0) {
        return std::unexpected(fmt::format("could not start the process that closes clients' sockets: {}", std::strerror(errno)));
    }
    if (child == 0) {
        serve(theirs.get(), *filter);
    }
    return std::move(ours);
}

Closer::Closer(EventLoop& loop, Fd socket, std::function<void()> has_room)
    : loop_(loop), socket_(std::move(socket)), has_room_(std::move(has_room)) {
    loop_.watch(socket_.get(), 0, [this](std::uint32_t /*it has hung up, nothing else is waited for*/) {
        log::error("the process that closes clients' sockets is gone; the broker begins again");
        loop_.stop();
    });
}

void Closer::close(Fd file) {
    add(std::move(file), Task::Close);
}

void Closer::drain(Fd socket) {
    add(std::move(socket), Task::Drain);
}

void Closer::add(Fd file, Task task) {
    waiting_.emplace_back(std::move(file), task);
    if (!is_due_) {
        flush();
    }
}

void Closer::flush() {
    is_due_ = false;
    const bool was_full = is_full();
    while (!waiting_.empty()) {
        const auto& [file, task] = waiting_.front();
        if (!send_message(socket_.get(), task, std::array{file.get()}, Wait::No)) {
            is_due_ = true; // it has enough to do, or is gone
            loop_.after(kAgain, [this] { flush(); });
            break;
        }
        waiting_.pop_front(); // on its way it is closed by nobody but the one who gets it
    }
    if (was_full && !is_full()) {
        has_room_();
    }
}

Fd ClientEnd::duplicate() const {
    return Fd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
}

} // namespace joblet::broker
