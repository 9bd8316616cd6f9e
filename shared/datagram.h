// Datagrams with descriptors over SOCK_SEQPACKET: the only way processes here talk to each other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "shared/fd.h"

namespace joblet {

inline constexpr std::size_t kMaxDescriptors = 64; // per datagram; the kernel's own bound is 253 (SCM_MAX_FD)

enum class ReceiveError : std::uint8_t {
    WouldBlock,  // nothing there now
    Closed,      // the peer is gone, or sent an empty datagram, which looks the same
    Descriptors, // of receive_bare_datagram
    Truncated,   // longer than the buffer, or its descriptors were cut off (MSG_CTRUNC): the peer is to be dropped
    Failed,      // errno tells
};

struct Received {
    std::size_t size = 0;        // bytes in the buffer
    std::vector<Fd> descriptors; // all CLOEXEC
};

enum class Wait : std::uint8_t { No, Yes };

// Receives one datagram into `buffer`. Descriptors of a datagram that is refused are closed.
std::expected<Received, ReceiveError> receive_datagram(int socket, std::span<std::byte> buffer, Wait wait);

// Likewise, from a peer that has no descriptor to send. One that comes with any stays where it is, which ends the connection: it is never
// received, because whoever closes a file of somebody else's may have to wait for it. Does not wait.
std::expected<std::size_t, ReceiveError> receive_bare_datagram(int socket, std::span<std::byte> buffer);

// Sends one datagram. False with errno EAGAIN if the window is full (Wait::No), otherwise errno as sendmsg(2) left it.
bool send_datagram(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors, Wait wait);

template <class Message> bool send_message(int socket, const Message& message, std::span<const int> descriptors, Wait wait) {
    static_assert(std::is_trivially_copyable_v<Message> && std::has_unique_object_representations_v<Message>);
    return send_datagram(socket, std::as_bytes(std::span(&message, 1)), descriptors, wait);
}

// A connected pair, both CLOEXEC and blocking (callers pass Wait for each call). Ends the process if it cannot be made.
std::pair<Fd, Fd> make_seqpacket_pair();

} // namespace joblet
