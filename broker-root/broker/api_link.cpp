#include "broker-root/broker/api_link.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "shared/log.h"
#include "shared/stdio_kind.h"

namespace joblet::broker {

namespace {

constexpr std::size_t kWindow = 1024;         // requests being worked on
constexpr std::size_t kOutgoingWindow = 4096; // messages that the API has not read; a peer that never reads is dropped
constexpr std::size_t kOutgoingRoom = 256;    // beyond this no new client is accepted

bool kind_matches(protocol::DescriptorKind kind, int fd) {
    switch (kind) {
    case protocol::DescriptorKind::ControlSocket:
        return is_control_socket(fd);
    case protocol::DescriptorKind::SealedMemory:
        return is_sealed_memory(fd, protocol::kJobSpecMax);
    }
    return false;
}

constexpr std::string_view describe(protocol::DecodeError error) {
    switch (error) {
    case protocol::DecodeError::Size:
        return "a datagram of the wrong size";
    case protocol::DecodeError::Version:
        return "a request of another version";
    case protocol::DecodeError::Type:
        return "a request that is not in the table";
    case protocol::DecodeError::Descriptors:
        return "the wrong number of descriptors";
    case protocol::DecodeError::Field:
        return "a field outside its meaning";
    }
    return "nonsense";
}

} // namespace

ApiLink::ApiLink(EventLoop& loop, Supervisor& supervisor, Callbacks callbacks)
    : loop_(loop), supervisor_(supervisor), callbacks_(std::move(callbacks)) {
    supervisor_.replace(Role::Api);
}

void ApiLink::adopt(Fd socket) {
    lose();
    socket_ = std::move(socket);
    ++session_;
    expected_sequence_ = 1;
    unanswered_ = 0;
    watched_events_ = EPOLLIN;
    watch_ = loop_.watch(socket_.get(), EPOLLIN, [this](std::uint32_t events) {
        if ((events & EPOLLOUT) != 0) {
            flush();
        }
        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
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
        reject("it does not read what it is told");
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
    while (socket_.valid() && unanswered_ < kWindow) {
        auto received = receive_datagram(socket_.get(), buffer, Wait::No);
        if (!received) {
            if (received.error() == ReceiveError::Truncated) {
                reject("it sent a datagram that is too long, or too many descriptors");
            } else if (received.error() != ReceiveError::WouldBlock) {
                lose();
            }
            break;
        }
        auto request = protocol::decode(std::span(buffer).first(received->size), received->descriptors.size());
        if (!request) {
            reject(fmt::format("it sent {}", describe(request.error())));
            return;
        }
        const auto& header = protocol::header_of(*request);
        if (header.sequence != expected_sequence_) {
            reject("it sent a request twice, or left one out");
            return;
        }
        ++expected_sequence_;
        const auto& row = protocol::row_of(header.type);
        for (std::size_t i = 0; i < received->descriptors.size(); ++i) {
            if (!kind_matches(row.descriptors[i], received->descriptors[i].get())) {
                reject(fmt::format("it sent a descriptor of the wrong kind with {}", row.name));
                return;
            }
        }
        ++unanswered_;
        callbacks_.request(*request, std::move(received->descriptors));
    }
    update_watch();
}

void ApiLink::reject(std::string_view why) {
    log::error(fmt::format("joblet-api is ended and started again: {}", why));
    supervisor_.replace(Role::Api);
    lose();
}

void ApiLink::lose() {
    if (!socket_.valid()) {
        return;
    }
    loop_.forget(watch_);
    socket_.reset();
    outgoing_.clear();
    ++session_; // replies to it are dropped
    callbacks_.gone();
}

} // namespace joblet::broker
