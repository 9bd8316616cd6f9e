#include "broker-root/broker/supervisor.h"

#include <sys/epoll.h>

#include <array>
#include <cstring>
#include <utility>

#include "shared/datagram.h"
#include "shared/log.h"

namespace joblet::broker {

Supervisor::Supervisor(EventLoop& loop, Fd socket, std::function<void(Role, std::uint32_t, Fd)> on_peer)
    : loop_(loop), socket_(std::move(socket)), on_peer_(std::move(on_peer)), all_stored_(loop) {
    loop_.watch(socket_.get(), EPOLLIN, [this](std::uint32_t) { receive(); });
}

void Supervisor::put(JobId key, std::span<const int> descriptors) {
    send({.type = SupervisionType::Put, .key = key}, descriptors);
}

void Supervisor::drop(JobId key) {
    send({.type = SupervisionType::Drop, .key = key});
}

void Supervisor::replace(Role role, std::uint32_t index) {
    send({.type = SupervisionType::Replace, .role = role, .index = index});
}

void Supervisor::ready() {
    if (!std::exchange(is_ready_, true)) {
        send({.type = SupervisionType::Ready});
    }
}

Completion<std::vector<StoredJob>> Supervisor::get_all() {
    send({.type = SupervisionType::GetAll});
    return all_stored_;
}

void Supervisor::send(const SupervisionMessage& message, std::span<const int> descriptors) {
    // Waits: jobletd does nothing but read, and without it there is nothing to go on with
    if (!send_message(socket_.get(), message, descriptors, Wait::Yes)) {
        loop_.stop();
    }
}

void Supervisor::receive() {
    for (;;) {
        std::array<std::byte, sizeof(SupervisionMessage)> buffer{};
        auto received = receive_datagram(socket_.get(), buffer, Wait::No);
        if (!received) {
            if (received.error() != ReceiveError::WouldBlock) {
                loop_.stop();
            }
            return;
        }
        SupervisionMessage message;
        if (received->size != sizeof message) {
            log::error("jobletd sent a message of the wrong size");
            loop_.stop();
            return;
        }
        std::memcpy(&message, buffer.data(), sizeof message);
        switch (message.type) {
        case SupervisionType::Peer:
            if (received->descriptors.size() == 1) {
                on_peer_(message.role, message.index, std::move(received->descriptors.front()));
            }
            break;
        case SupervisionType::Stored:
            stored_.push_back({message.key, std::move(received->descriptors)});
            break;
        case SupervisionType::StoredEnd:
            all_stored_.set(std::move(stored_));
            break;
        default:
            log::error("jobletd sent a message that is ours to send");
            loop_.stop();
            return;
        }
    }
}

} // namespace joblet::broker
