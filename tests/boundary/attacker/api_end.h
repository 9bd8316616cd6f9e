// One life of joblet-api, in the hands of the test: the puppet that jobletd started, and the real socket to the real broker.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shared/datagram.h"
#include "shared/protocol_messages.h"
#include "tests/system/process.h"

namespace joblet::testing {

struct Incoming {
    protocol::Message message;
    std::vector<Fd> descriptors;
};

class ApiEnd {
  public:
    ApiEnd(Fd puppet, pid_t pid, Fd broker) : puppet_(std::move(puppet)), pid_(pid), broker_(std::move(broker)) {}

    // The next number, which the next request has to have.
    std::uint64_t next_sequence() {
        return ++sequence_;
    }
    // The same, without giving it away.
    [[nodiscard]] std::uint64_t coming_sequence() const {
        return sequence_ + 1;
    }
    // What should have had it could not be sent.
    void take_back_sequence() {
        --sequence_;
    }
    // False: it was not taken (errno tells). Never waits.
    [[nodiscard]] bool send(std::span<const std::byte> bytes, std::span<const int> descriptors = {}) const;
    // What the broker says next; nullopt: nothing within the limit, or the broker has closed (then is_closed()). A message that does
    // not decode is a std::runtime_error.
    std::optional<Incoming> receive(milliseconds limit);
    [[nodiscard]] bool is_closed() const {
        return closed_ || !broker_.valid();
    }
    // Whether jobletd has ended the puppet.
    [[nodiscard]] bool is_ended(milliseconds limit) const;
    [[nodiscard]] pid_t pid() const {
        return pid_;
    }
    [[nodiscard]] int socket() const {
        return broker_.get();
    }
    void close_socket() {
        broker_.reset();
    }
    // As a crash does: both at once.
    void die();

  private:
    Fd puppet_;
    pid_t pid_;
    Fd broker_;
    std::uint64_t sequence_ = 0;
    bool closed_ = false;
};

} // namespace joblet::testing
