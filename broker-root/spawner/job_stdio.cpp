#include "broker-root/spawner/job_stdio.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "broker-root/kernel/record_io.h"
#include "broker-root/kernel/terminal.h"
#include "shared/datagram.h"
#include "shared/stdio_kind.h"

namespace joblet::spawner {

using kernel::last_errno;
using kernel::Result;

namespace {

constexpr std::array kOutput = {STDOUT_FILENO, STDERR_FILENO};

bool is_meaningful(const ControlHello& hello) {
    const bool terminal = hello.flags == kHelloTerminal;
    return hello.magic == kHelloMagic && hello.zero == 0 && (terminal || (hello.flags == 0 && hello.rows == 0 && hello.columns == 0));
}

} // namespace

Result<void> JobStdio::receive(int control) {
    std::array<std::byte, sizeof hello_> buffer{};
    auto received = receive_datagram(control, buffer, Wait::No);
    if (!received || received->size != sizeof hello_) {
        return std::unexpected(EPROTO);
    }
    std::memcpy(&hello_, buffer.data(), sizeof hello_);
    if (!is_meaningful(hello_) || received->descriptors.size() != (has_terminal() ? 0 : kHelloDescriptors)) {
        return std::unexpected(EPROTO);
    }
    fds_ = std::move(received->descriptors);
    for (const Fd& fd : fds_) {
        if (!is_acceptable_stdio(fd.get()) || is_pseudo_file(fd.get())) {
            return std::unexpected(EPERM);
        }
    }
    return {};
}

Result<void> JobStdio::open_terminal(int control) {
    if (!has_terminal()) {
        return {};
    }
    auto made = kernel::open_terminal("/dev/pts/ptmx", {.rows = hello_.rows, .columns = hello_.columns});
    if (!made) {
        return std::unexpected(made.error());
    }
    const std::array descriptors = {made->master.get()};
    if (!send_message(control, ControlTerminal{.magic = kTerminalMagic}, descriptors, Wait::No)) {
        return last_errno();
    }
    fds_.push_back(std::move(made->slave));
    return {};
}

Result<void> JobStdio::open_null() {
    Fd null(::open("/dev/null", O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!null.valid()) {
        return last_errno();
    }
    fds_.push_back(std::move(null));
    return {};
}

std::array<int, kHelloDescriptors> JobStdio::descriptors() const {
    std::array<int, kHelloDescriptors> out{};
    std::ranges::generate(out, [this, next = std::size_t{0}]() mutable { return fds_[std::min(next++, fds_.size() - 1)].get(); });
    return out;
}

Result<std::array<int, 2>> make_output_pipes() {
    std::array<int, 2> reading{};
    for (std::size_t i = 0; i < reading.size(); ++i) {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) < 0) {
            return last_errno();
        }
        // O_NONBLOCK of this end alone: the job's is another open file
        if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 || ::dup3(ends[1], kOutput[i], 0) < 0) {
            return last_errno();
        }
        ::close(ends[1]);
        reading[i] = ends[0];
    }
    return reading;
}

Result<void> give_output_to(std::uint32_t user, std::uint32_t group) {
    for (const int stream : kOutput) {
        if (const auto given = kernel::change_owner(stream, user, group); !given) {
            return given;
        }
    }
    return {};
}

} // namespace joblet::spawner
