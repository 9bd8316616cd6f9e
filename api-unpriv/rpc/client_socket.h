// A client's socket, of which nothing is taken but bytes. Whoever drops the last reference to an open file may have to wait for it, as
// long as its owner likes (a socket that lingers, a file of a file system that he serves himself): so what a client attaches
// is never received. The bytes are looked at first, and a descriptor with them is the end of the connection, unread; the broker,
// who has the socket, too, lets go of it last.
#pragma once

#include <cstddef>
#include <optional>

#include <kj/async-io.h>
#include <kj/async-unix.h>

#include "shared/fd.h"

namespace joblet::api {

class ClientSocket final : public kj::AsyncCapabilityStream {
  public:
    // Throws if there are no descriptors left.
    ClientSocket(kj::AsyncIoContext& io, Fd socket);

    kj::Promise<std::size_t> tryRead(void* buffer, std::size_t least, std::size_t most) override;
    kj::Promise<ReadResult> tryReadWithFds(void* buffer, std::size_t least, std::size_t most, kj::AutoCloseFd* fds,
                                           std::size_t most_fds) override;
    kj::Promise<ReadResult> tryReadWithStreams(void* buffer, std::size_t least, std::size_t most,
                                               kj::Own<kj::AsyncCapabilityStream>* streams, std::size_t most_streams) override;

    kj::Promise<void> write(const void* buffer, std::size_t size) override {
        return inner_->write(buffer, size);
    }
    kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override {
        return inner_->write(pieces);
    }
    kj::Promise<void> writeWithFds(kj::ArrayPtr<const kj::byte> data, kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> more,
                                   kj::ArrayPtr<const int> fds) override {
        return inner_->writeWithFds(data, more, fds);
    }
    kj::Promise<void> writeWithStreams(kj::ArrayPtr<const kj::byte> data, kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> more,
                                       kj::Array<kj::Own<kj::AsyncCapabilityStream>> streams) override {
        return inner_->writeWithStreams(data, more, kj::mv(streams));
    }
    kj::Promise<void> whenWriteDisconnected() override {
        return inner_->whenWriteDisconnected();
    }
    void shutdownWrite() override {
        inner_->shutdownWrite();
    }
    void getsockopt(int level, int option, void* value, kj::uint* length) override {
        inner_->getsockopt(level, option, value, length);
    }

  private:
    // Bytes; 0: the client has hung up; nullopt: there are none now. Throws if a descriptor comes with them.
    std::optional<std::size_t> take(std::byte* to, std::size_t most);
    kj::Promise<std::size_t> read_on(std::byte* to, std::size_t least, std::size_t most, std::size_t had);

    Fd reading_; // the same socket: an epoll set has each descriptor once
    kj::UnixEventPort::FdObserver readable_;
    kj::Own<kj::AsyncCapabilityStream> inner_;
};

} // namespace joblet::api
