#include "shared/datagram.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace joblet {

namespace {

constexpr std::size_t kControlSize = CMSG_SPACE(sizeof(int) * kMaxDescriptors);

// recvmsg(2), again if it is interrupted.
std::expected<std::size_t, ReceiveError> receive(int socket, msghdr& header, int flags) {
    ssize_t size = -1;
    do {
        size = ::recvmsg(socket, &header, flags);
    } while (size < 0 && errno == EINTR);
    if (size < 0) {
        return std::unexpected(errno == EAGAIN || errno == EWOULDBLOCK ? ReceiveError::WouldBlock
                               : errno == ECONNRESET                   ? ReceiveError::Closed
                                                                       : ReceiveError::Failed);
    }
    return static_cast<std::size_t>(size);
}

} // namespace

std::expected<Received, ReceiveError> receive_datagram(int socket, std::span<std::byte> buffer, Wait wait) {
    alignas(cmsghdr) std::array<std::byte, kControlSize> control{};
    iovec part{buffer.data(), buffer.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();

    // MSG_TRUNC: the true length is returned even where the buffer was too short for it
    const auto size = receive(socket, header, MSG_CMSG_CLOEXEC | MSG_TRUNC | (wait == Wait::No ? MSG_DONTWAIT : 0));
    if (!size) {
        return std::unexpected(size.error());
    }

    // Taken over before anything is judged, so that a refused datagram's descriptors are closed and not kept
    Received received{*size, {}};
    for (cmsghdr* entry = CMSG_FIRSTHDR(&header); entry != nullptr; entry = CMSG_NXTHDR(&header, entry)) {
        if (entry->cmsg_level != SOL_SOCKET || entry->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const std::size_t count = (entry->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(entry) + i * sizeof(int), sizeof fd);
            received.descriptors.emplace_back(fd);
        }
    }
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        return std::unexpected(ReceiveError::Truncated);
    }
    if (*size == 0) {
        return std::unexpected(ReceiveError::Closed);
    }
    return received;
}

std::expected<std::size_t, ReceiveError> receive_bare_datagram(int socket, std::span<std::byte> buffer) {
    msghdr nothing{}; // no room for a byte, and none for a descriptor
    if (const auto seen = receive(socket, nothing, MSG_PEEK | MSG_DONTWAIT); !seen) {
        return seen;
    }
    if ((nothing.msg_flags & MSG_CTRUNC) != 0) {
        return std::unexpected(ReceiveError::Descriptors);
    }
    // The same one: nobody else reads here
    const auto received = receive_datagram(socket, buffer, Wait::No);
    if (!received) {
        return std::unexpected(received.error());
    }
    return received->size;
}

bool send_datagram(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors, Wait wait) {
    if (descriptors.size() > kMaxDescriptors) {
        errno = E2BIG;
        return false;
    }
    alignas(cmsghdr) std::array<std::byte, kControlSize> control{};
    // sendmsg(2) only reads it
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()}; // NOLINT(cppcoreguidelines-pro-type-const-cast)
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!descriptors.empty()) {
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
        cmsghdr* entry = CMSG_FIRSTHDR(&header);
        entry->cmsg_level = SOL_SOCKET;
        entry->cmsg_type = SCM_RIGHTS;
        entry->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(entry), descriptors.data(), descriptors.size_bytes());
    }
    ssize_t sent = -1;
    do {
        sent = ::sendmsg(socket, &header, MSG_NOSIGNAL | (wait == Wait::No ? MSG_DONTWAIT : 0));
    } while (sent < 0 && errno == EINTR);
    return sent == static_cast<ssize_t>(bytes.size());
}

std::pair<Fd, Fd> make_seqpacket_pair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        std::abort();
    }
    return {Fd(ends[0]), Fd(ends[1])};
}

} // namespace joblet
