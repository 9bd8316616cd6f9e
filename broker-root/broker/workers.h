// The pool of workers: whatever may wait for a disk is ordered of one of them.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/supervisor.h"
#include "broker-root/broker/task.h"
#include "broker-root/worker/orders.h"
#include "shared/fd.h"

namespace joblet::broker {

struct WorkerReply {
    worker::Answer answer;
    std::vector<Fd> descriptors;
    bool lost = false; // the worker died or took too long: what it did is unknown

    [[nodiscard]] bool ok() const {
        return answer.code == ErrorCode::Ok;
    }
    [[nodiscard]] Failure failure() const {
        return {answer.code, answer.step, answer.sys_errno};
    }
};

// Takes the answer to an order that has more than an Answer; what is not of its size leaves it as it is.
template <class Whole> std::function<void(std::span<const std::byte>)> whole_answer(Whole& out) {
    return [&out](std::span<const std::byte> bytes) {
        if (bytes.size() == sizeof out) {
            std::memcpy(&out, bytes.data(), sizeof out);
        }
    };
}

class Workers {
  public:
    // Called with each datagram of an answer in parts (LoadVolumes, LoadJobs).
    using Part = std::function<void(std::span<const std::byte>)>;

    Workers(EventLoop& loop, Supervisor& supervisor, std::uint32_t count, std::chrono::seconds patience);

    void adopt(std::uint32_t index, Fd socket); // a worker was started

    // Goes to an idle worker, or waits for one. Answers with the worker's answer, or with Unavailable and `lost`.
    template <class Order> Completion<WorkerReply> order(Order order, std::vector<Fd> descriptors = {}, Part part = {}) {
        order.header.type = Order::kType;
        order.header.sequence = next_sequence_++;
        const auto bytes = std::as_bytes(std::span(&order, 1));
        return enqueue({{bytes.begin(), bytes.end()},
                        order.header.type,
                        order.header.sequence,
                        std::move(descriptors),
                        std::move(part),
                        Completion<WorkerReply>(loop_)});
    }

  private:
    struct Pending {
        std::vector<std::byte> bytes;
        worker::OrderType type;
        std::uint64_t sequence;
        std::vector<Fd> descriptors;
        Part part;
        Completion<WorkerReply> done;
    };
    struct Worker {
        Fd socket;
        EventLoop::Watch watch = 0;
        EventLoop::Timer deadline;
        std::optional<Pending> current;
    };

    Completion<WorkerReply> enqueue(Pending pending);
    void dispatch();
    void set_deadline(std::uint32_t index);
    void receive(std::uint32_t index);
    void lose(std::uint32_t index, const char* why);
    void finish(Worker& worker, WorkerReply reply);

    EventLoop& loop_;
    Supervisor& supervisor_;
    std::chrono::seconds patience_;
    std::uint64_t next_sequence_ = 1;
    std::vector<Worker> workers_;
    std::deque<Pending> queue_;
};

} // namespace joblet::broker
