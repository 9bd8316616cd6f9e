#include "tests/system/raw_socket.h"

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <vector>

#include "shared/close_timer.h"

namespace joblet::testing {

bool send_raw(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors, int flags) {
    std::vector<std::byte> control(CMSG_SPACE(descriptors.size_bytes()));
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()}; // NOLINT(cppcoreguidelines-pro-type-const-cast): only read
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* const entry = CMSG_FIRSTHDR(&header);
    entry->cmsg_level = SOL_SOCKET;
    entry->cmsg_type = SCM_RIGHTS;
    entry->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(entry), descriptors.data(), descriptors.size_bytes());
    return ::sendmsg(socket, &header, flags | MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

Lingering make_lingering() {
    const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(listener.get(), any, size) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    REQUIRE(::getsockname(listener.get(), any, &size) == 0);
    Lingering out;
    out.sender = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(out.sender.get(), any, size) == 0);
    out.receiver = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(out.receiver.valid());
    const std::vector<char> much(65536);
    while (::send(out.sender.get(), much.data(), much.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    }
    constexpr int kHour = 3600;
    const linger hour{.l_onoff = 1, .l_linger = kHour};
    REQUIRE(::setsockopt(out.sender.get(), SOL_SOCKET, SO_LINGER, &hour, sizeof hour) == 0);
    return out;
}

void let_go(Fd one) {
    CloseTimer::start();
    one.reset();
    CloseTimer::stop();
}

} // namespace joblet::testing
