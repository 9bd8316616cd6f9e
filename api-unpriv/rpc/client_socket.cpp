#include "api-unpriv/rpc/client_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

#include <kj/debug.h>

namespace joblet::api {

namespace {

Fd duplicate(const Fd& socket) {
    Fd copy(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
    // Urgent data would be passed over when it is looked at and dropped when it is read, with what comes with it
    const int on = 1;
    if (!copy.valid() || ::setsockopt(copy.get(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof on) != 0) {
        kj::throwFatalException(KJ_EXCEPTION(OVERLOADED, "a connection cannot be taken: no descriptors left"));
    }
    return copy;
}

} // namespace

ClientSocket::ClientSocket(kj::AsyncIoContext& io, Fd socket)
    : reading_(duplicate(socket)), readable_(io.unixEventPort, reading_.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ),
      inner_(io.lowLevelProvider->wrapUnixSocketFd(kj::AutoCloseFd(socket.release()), kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC)) {}

kj::Promise<std::size_t> ClientSocket::tryRead(void* buffer, std::size_t least, std::size_t most) {
    return read_on(static_cast<std::byte*>(buffer), least, most, 0);
}

kj::Promise<kj::AsyncCapabilityStream::ReadResult> ClientSocket::tryReadWithFds(void* buffer, std::size_t least, std::size_t most,
                                                                                kj::AutoCloseFd* /*fds*/, std::size_t /*most_fds*/) {
    return tryRead(buffer, least, most).then([](std::size_t size) { return ReadResult{size, 0}; });
}

kj::Promise<kj::AsyncCapabilityStream::ReadResult> ClientSocket::tryReadWithStreams(void* buffer, std::size_t least, std::size_t most,
                                                                                    kj::Own<kj::AsyncCapabilityStream>* /*streams*/,
                                                                                    std::size_t /*most_streams*/) {
    return tryRead(buffer, least, most).then([](std::size_t size) { return ReadResult{size, 0}; });
}

std::optional<std::size_t> ClientSocket::take(std::byte* to, std::size_t most) {
    iovec part{to, most};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const ssize_t seen = ::recvmsg(reading_.get(), &header, MSG_PEEK | MSG_DONTWAIT);
    if (seen < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return std::nullopt;
        }
        return 0; // ECONNRESET: it is gone
    }
    if ((header.msg_flags & MSG_CTRUNC) != 0) {
        kj::throwFatalException(KJ_EXCEPTION(FAILED, "the client sends descriptors, and none are taken"));
    }
    // No more than was seen: what has come since may have any with it
    const ssize_t got = seen > 0 ? ::recv(reading_.get(), to, static_cast<std::size_t>(seen), MSG_DONTWAIT) : 0;
    return got > 0 ? static_cast<std::size_t>(got) : 0;
}

kj::Promise<std::size_t> ClientSocket::read_on(std::byte* to, std::size_t least, std::size_t most, std::size_t had) {
    while (had < least) {
        const auto size = take(to + had, most - had);
        if (!size) {
            return readable_.whenBecomesReadable().then([this, to, least, most, had]() { return read_on(to, least, most, had); });
        }
        if (*size == 0) {
            break;
        }
        had += *size;
    }
    return had;
}

} // namespace joblet::api
