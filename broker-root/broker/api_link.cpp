#include "broker-root/broker/api_link.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>

#include <fmt/format.h>

#include "shared/log.h"

namespace joblet::broker {

namespace {

constexpr std::size_t kWindow = 1024;         // requests being worked on
constexpr std::size_t kOutgoingWindow = 4096; // messages that the API has not read; a peer that never reads is dropped
constexpr std::size_t kOutgoingRoom = 256;    // beyond this no new client is accepted

// A datagram at a time, so that whoever sends without an end does not keep the loop from timers and everybody else.
constexpr int kDatagramsPerTurn = 64;
// Longer than jobletd waits before it starts again what keeps dying (RestartPace).
constexpr std::chrono::seconds kHungUp{3};

struct PartingText {
    std::string_view word;
    std::string_view sentence;
};
constexpr std::array kPartings = {
    PartingText{"size", "it sent a datagram of the wrong size"},
    PartingText{"version", "it sent a request of another version"},
    PartingText{"type", "it sent a request that is not in the table"},
    PartingText{"field", "it sent a field outside its meaning"},
    PartingText{"descriptors", "it sent a descriptor"},
    PartingText{"truncated", "it sent a datagram that is too long"},
    PartingText{"sequence", "it sent a request twice, or left one out"},
    PartingText{"unread", "it does not read what it is told"},
    PartingText{"closed", "it hung up"},
};
static_assert(kPartings.size() == static_cast<std::size_t>(Parting::Closed) + 1);

const PartingText& text_of(Parting parting) {
    return kPartings[static_cast<std::size_t>(parting)];
}

Parting parting_of(protocol::DecodeError error) {
    switch (error) {
    case protocol::DecodeError::Size:
        return Parting::Size;
    case protocol::DecodeError::Version:
        return Parting::Version;
    case protocol::DecodeError::Type:
        return Parting::Type;
    case protocol::DecodeError::Descriptors: // of messages alone
    case protocol::DecodeError::Field:
        break;
    }
    return Parting::Field;
}

} // namespace

std::string_view parting_word(Parting parting) {
    return text_of(parting).word;
}

ApiLink::ApiLink(EventLoop& loop, Supervisor& supervisor, Closer& closer, Callbacks callbacks)
    : loop_(loop), supervisor_(supervisor), closer_(closer), callbacks_(std::move(callbacks)) {
    supervisor_.replace(Role::Api);
}

void ApiLink::adopt(Fd socket) {
    part(Parting::Closed);
    socket_ = std::move(socket);
    ++session_;
    expected_sequence_ = 1;
    unanswered_ = 0;
    watched_events_ = EPOLLIN;
    watch_ = loop_.watch(socket_.get(), EPOLLIN, [this](std::uint32_t events) {
        if ((events & EPOLLOUT) != 0) {
            flush();
        }
        if ((events & (EPOLLHUP | EPOLLERR)) != 0 && unanswered_ >= kWindow) {
            lose(); // nothing more is read from it, and this would be told again and again
        } else if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
            receive();
        }
    });
    callbacks_.ready();
}

bool ApiLink::has_room() const {
    return socket_.valid() && outgoing_.size() < kOutgoingRoom;
}

void ApiLink::enqueue(std::vector<std::byte> bytes, std::vector<Fd> descriptors) {
    outgoing_.push_back({std::move(bytes), std::move(descriptors)});
    if (outgoing_.size() > kOutgoingWindow) {
        reject(Parting::Unread);
        return;
    }
    flush();
}

void ApiLink::flush() {
    while (socket_.valid() && !outgoing_.empty()) {
        const Outgoing& next = outgoing_.front();
        std::vector<int> descriptors(next.descriptors.size());
        std::ranges::transform(next.descriptors, descriptors.begin(), &Fd::get);
        if (!send_datagram(socket_.get(), next.bytes, descriptors, Wait::No)) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                lose();
                return;
            }
            break;
        }
        outgoing_.pop_front();
    }
    update_watch();
}

void ApiLink::update_watch() {
    if (!socket_.valid()) {
        return;
    }
    const std::uint32_t events = (unanswered_ < kWindow ? EPOLLIN : 0U) | (outgoing_.empty() ? 0U : EPOLLOUT);
    if (events == watched_events_) {
        return;
    }
    const bool was_full = (watched_events_ & EPOLLOUT) != 0;
    watched_events_ = events;
    loop_.change(watch_, events);
    if (was_full && outgoing_.empty()) {
        callbacks_.ready();
    }
}

void ApiLink::receive() {
    std::array<std::byte, protocol::kRequestSizeMax> buffer; // read only as far as it was written
    for (int turn = 0; turn < kDatagramsPerTurn && socket_.valid() && unanswered_ < kWindow; ++turn) {
        const auto size = receive_bare_datagram(socket_.get(), buffer);
        if (!size) {
            if (size.error() == ReceiveError::Truncated || size.error() == ReceiveError::Descriptors) {
                reject(size.error() == ReceiveError::Truncated ? Parting::Truncated : Parting::Descriptors);
            } else if (size.error() != ReceiveError::WouldBlock) {
                lose();
            }
            break;
        }
        auto request = protocol::decode(std::span(buffer).first(*size));
        if (!request) {
            reject(parting_of(request.error()));
            return;
        }
        const auto& header = protocol::header_of(*request);
        if (header.sequence != expected_sequence_) {
            reject(Parting::Sequence);
            return;
        }
        ++expected_sequence_;
        ++unanswered_;
        callbacks_.request(*request);
    }
    update_watch();
}

void ApiLink::reject(Parting offence) {
    log::error(fmt::format("joblet-api is ended and started again: {}", text_of(offence).sentence));
    supervisor_.replace(Role::Api);
    part(offence);
}

void ApiLink::lose() {
    part(Parting::Closed);
    // Not at once: what jobletd has started already in the place of a dead one would be ended with it
    loop_.after(kHungUp, [this, session = session_] {
        if (session == session_) {
            log::error("joblet-api has hung up and lives on; it is ended and started again");
            supervisor_.replace(Role::Api);
        }
    });
}

void ApiLink::part(Parting parting) {
    if (!socket_.valid()) {
        return;
    }
    loop_.forget(watch_);
    ::shutdown(socket_.get(), SHUT_RDWR);
    closer_.close(std::move(socket_)); // what it attached to requests that were not read is in it
    outgoing_.clear();
    ++session_; // replies to it are dropped
    callbacks_.gone(parting);
}

} // namespace joblet::broker
