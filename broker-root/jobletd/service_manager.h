// Tells the service manager that started jobletd when it is ready: the protocol of sd_notify(3), a datagram to the socket that
// NOTIFY_SOCKET names. That name is root's own word, as the command line is: it is read and connected to before anything else
// starts, and nobody after that can change where the datagram goes.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

#include "shared/fd.h"

namespace joblet::jobletd {

class ServiceManager {
  public:
    // `name`: the value of NOTIFY_SOCKET, a path or "@" and an abstract name; nullptr: nobody wants to know. An error is a sentence.
    static std::expected<ServiceManager, std::string> connect(const char* name);

    // It answers requests. Only the first call counts.
    void ready();
    // Never waits: what could not be sent is to be tried again.
    void try_again();
    [[nodiscard]] bool has_unsent() const {
        return state_ == State::Unsent;
    }

  private:
    enum class State : std::uint8_t { Starting, Unsent, Told };

    explicit ServiceManager(Fd socket) : socket_(std::move(socket)) {}

    Fd socket_;
    State state_ = State::Starting;
};

} // namespace joblet::jobletd
