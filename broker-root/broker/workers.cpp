#include "broker-root/broker/workers.h"

#include <sys/epoll.h>

#include <array>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "shared/datagram.h"
#include "shared/log.h"

namespace joblet::broker {

Workers::Workers(EventLoop& loop, Supervisor& supervisor, std::uint32_t count, std::chrono::seconds patience)
    : loop_(loop), supervisor_(supervisor), patience_(patience), workers_(count) {
    for (std::uint32_t index = 0; index < count; ++index) {
        supervisor_.replace(Role::Worker, index);
    }
}

void Workers::adopt(std::uint32_t index, Fd socket) {
    if (index >= workers_.size()) {
        return;
    }
    // The old one may have died without our having read its end yet: the peer of the new one comes by another socket
    lose(index, "was replaced");
    Worker& worker = workers_[index];
    worker.socket = std::move(socket);
    worker.watch = loop_.watch(worker.socket.get(), EPOLLIN, [this, index](std::uint32_t) { receive(index); });
    dispatch();
}

Completion<WorkerReply> Workers::enqueue(Pending pending) {
    auto done = pending.done;
    queue_.push_back(std::move(pending));
    dispatch();
    return done;
}

void Workers::dispatch() {
    for (std::uint32_t index = 0; index < workers_.size() && !queue_.empty(); ++index) {
        Worker& worker = workers_[index];
        if (!worker.socket.valid() || worker.current) {
            continue;
        }
        worker.current.emplace(std::move(queue_.front()));
        queue_.pop_front();
        std::vector<int> descriptors;
        for (const Fd& fd : worker.current->descriptors) {
            descriptors.push_back(fd.get());
        }
        const bool sent = send_datagram(worker.socket.get(), worker.current->bytes, descriptors, Wait::No);
        worker.current->descriptors.clear(); // the worker has its own now; ours would keep mounts alive
        set_deadline(index);
        if (!sent) {
            lose(index, "does not take orders");
            supervisor_.replace(Role::Worker, index);
        }
    }
}

void Workers::set_deadline(std::uint32_t index) {
    loop_.cancel(workers_[index].deadline);
    workers_[index].deadline = loop_.after(patience_, [this, index] {
        supervisor_.replace(Role::Worker, index);
        lose(index, "took too long and was given up");
    });
}

void Workers::receive(std::uint32_t index) {
    static constexpr auto kClosed = "has ended";
    Worker& worker = workers_[index];
    std::array<std::byte, worker::kAnswerSizeMax> buffer; // not initialised: it is read only as far as it was written
    while (worker.socket.valid()) {
        auto received = receive_datagram(worker.socket.get(), buffer, Wait::No);
        if (!received) {
            if (received.error() != ReceiveError::WouldBlock) {
                lose(index, kClosed);
            }
            return;
        }
        const auto bytes = std::span(buffer).first(received->size);
        WorkerReply reply;
        if (bytes.size() < sizeof reply.answer || !worker.current) {
            lose(index, "said what it was not asked");
            supervisor_.replace(Role::Worker, index);
            return;
        }
        std::memcpy(&reply.answer, bytes.data(), sizeof reply.answer);
        if (reply.answer.sequence != worker.current->sequence || reply.answer.type != worker.current->type ||
            static_cast<std::uint32_t>(reply.answer.code) >= kErrorCodeCount ||
            static_cast<std::uint32_t>(reply.answer.step) >= kStepCount) {
            lose(index, "answered another order than it got");
            supervisor_.replace(Role::Worker, index);
            return;
        }
        if (worker.current->part) {
            worker.current->part(bytes);
        }
        if (reply.answer.more != 0) {
            set_deadline(index); // a long list is no sign of trouble
        } else {
            reply.descriptors = std::move(received->descriptors);
            finish(worker, std::move(reply));
            dispatch();
        }
    }
}

void Workers::lose(std::uint32_t index, const char* why) {
    Worker& worker = workers_[index];
    if (!worker.socket.valid()) {
        return;
    }
    log::warning(fmt::format("worker {} {}", index, why));
    loop_.forget(worker.watch);
    worker.socket.reset();
    if (worker.current) {
        WorkerReply reply;
        reply.answer.type = worker.current->type;
        reply.answer.code = ErrorCode::Unavailable;
        reply.lost = true;
        finish(worker, std::move(reply));
    }
}

void Workers::finish(Worker& worker, WorkerReply reply) {
    loop_.cancel(worker.deadline);
    const auto done = worker.current->done;
    worker.current.reset();
    done.set(std::move(reply));
}

} // namespace joblet::broker
