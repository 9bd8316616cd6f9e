#include "broker-root/broker/spawner_link.h"

#include <sys/epoll.h>

#include <array>
#include <cstring>

#include "shared/datagram.h"
#include "shared/log.h"

namespace joblet::broker {

SpawnerLink::SpawnerLink(EventLoop& loop, Supervisor& supervisor) : loop_(loop) {
    supervisor.replace(Role::Spawner);
}

void SpawnerLink::adopt(Fd socket) {
    lose();
    socket_ = std::move(socket);
    watch_ = loop_.watch(socket_.get(), EPOLLIN, [this](std::uint32_t) { receive(); });
    dispatch();
}

Completion<SpawnerReply> SpawnerLink::enqueue(Pending pending) {
    auto done = pending.done;
    queue_.push_back(std::move(pending));
    dispatch();
    return done;
}

void SpawnerLink::dispatch() {
    if (!socket_.valid() || current_ || queue_.empty()) {
        return;
    }
    current_.emplace(std::move(queue_.front()));
    queue_.pop_front();
    std::vector<int> descriptors;
    for (const Fd& fd : current_->descriptors) {
        descriptors.push_back(fd.get());
    }
    const bool sent = send_datagram(socket_.get(), current_->bytes, descriptors, Wait::No);
    current_->descriptors.clear();
    if (!sent) {
        lose(); // jobletd sees it end and starts another
    }
}

void SpawnerLink::receive() {
    std::array<std::byte, sizeof(spawner::Answer)> buffer{};
    while (socket_.valid()) {
        auto received = receive_datagram(socket_.get(), buffer, Wait::No);
        if (!received && received.error() == ReceiveError::WouldBlock) {
            return;
        }
        SpawnerReply reply;
        if (!received || received->size != sizeof reply.answer || !current_) {
            lose();
            return;
        }
        std::memcpy(&reply.answer, buffer.data(), sizeof reply.answer);
        if (reply.answer.sequence != current_->sequence || static_cast<std::uint32_t>(reply.answer.code) >= kErrorCodeCount ||
            static_cast<std::uint32_t>(reply.answer.step) >= kStepCount) {
            lose();
            return;
        }
        reply.descriptors = std::move(received->descriptors);
        const auto done = current_->done;
        current_.reset();
        done.set(std::move(reply));
        dispatch();
    }
}

void SpawnerLink::lose() {
    if (!socket_.valid()) {
        return;
    }
    log::warning("the spawner has ended");
    loop_.forget(watch_);
    socket_.reset();
    if (current_) {
        SpawnerReply reply;
        reply.answer.code = ErrorCode::Unavailable;
        const auto done = current_->done;
        current_.reset();
        done.set(std::move(reply));
    }
}

} // namespace joblet::broker
