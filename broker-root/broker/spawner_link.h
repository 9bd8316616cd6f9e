// The broker's line to the spawner: slots' user namespaces, and stages. One order at a time; none of them waits for a disk.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/supervisor.h"
#include "broker-root/broker/task.h"
#include "broker-root/spawner/launch.h"
#include "shared/fd.h"

namespace joblet::broker {

struct SpawnerReply {
    spawner::Answer answer;
    std::vector<Fd> descriptors;

    [[nodiscard]] bool ok() const {
        return answer.code == ErrorCode::Ok;
    }
    [[nodiscard]] Failure failure() const {
        return {answer.code, answer.step, answer.sys_errno};
    }
};

class SpawnerLink {
  public:
    SpawnerLink(EventLoop& loop, Supervisor& supervisor);

    void adopt(Fd socket);

    // With Unavailable if the spawner dies first.
    template <class Order> Completion<SpawnerReply> order(Order order, std::vector<Fd> descriptors = {}) {
        order.header.type = Order::kType;
        order.header.sequence = next_sequence_++;
        const auto bytes = std::as_bytes(std::span(&order, 1));
        return enqueue({{bytes.begin(), bytes.end()}, order.header.sequence, std::move(descriptors), Completion<SpawnerReply>(loop_)});
    }

  private:
    struct Pending {
        std::vector<std::byte> bytes;
        std::uint64_t sequence;
        std::vector<Fd> descriptors;
        Completion<SpawnerReply> done;
    };

    Completion<SpawnerReply> enqueue(Pending pending);
    void dispatch();
    void receive();
    void lose();

    EventLoop& loop_;
    Fd socket_;
    EventLoop::Watch watch_ = 0;
    std::uint64_t next_sequence_ = 1;
    std::optional<Pending> current_;
    std::deque<Pending> queue_;
};

} // namespace joblet::broker
