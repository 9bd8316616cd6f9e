#include "tests/boundary/attacker/api_end.h"

#include <poll.h>

#include <array>
#include <csignal>
#include <stdexcept>

#include <fmt/format.h>

namespace joblet::testing {

namespace {

bool wait_for(int fd, short events, milliseconds limit) {
    pollfd one{fd, events, 0};
    return ::poll(&one, 1, static_cast<int>(limit.count())) > 0;
}

} // namespace

bool ApiEnd::send(std::span<const std::byte> bytes, std::span<const int> descriptors) const {
    return send_datagram(broker_.get(), bytes, descriptors, Wait::No);
}

std::optional<Incoming> ApiEnd::receive(milliseconds limit) {
    if (closed_ || !broker_.valid() || !wait_for(broker_.get(), POLLIN, limit)) {
        return std::nullopt;
    }
    std::array<std::byte, protocol::kMessageSizeMax> buffer; // read only as far as it was written
    auto received = receive_datagram(broker_.get(), buffer, Wait::No);
    if (!received) {
        closed_ = received.error() != ReceiveError::WouldBlock;
        return std::nullopt;
    }
    auto message = protocol::decode_message(std::span(buffer).first(received->size), received->descriptors.size());
    if (!message) {
        throw std::runtime_error(fmt::format("the broker sent {} bytes that are no message", received->size));
    }
    return Incoming{*message, std::move(received->descriptors)};
}

bool ApiEnd::is_ended(milliseconds limit) const {
    return wait_for(puppet_.get(), POLLIN, limit * patience()); // it never sends anything: this is its end
}

void ApiEnd::die() {
    ::kill(pid_, SIGKILL);
    broker_.reset();
}

} // namespace joblet::testing
