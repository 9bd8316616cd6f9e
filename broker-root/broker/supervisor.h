// The broker's line to jobletd, who started it: keeps descriptors over a restart, starts and replaces the other processes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/task.h"
#include "broker-root/jobletd/supervision.h"
#include "shared/fd.h"
#include "shared/id.h"

namespace joblet::broker {

struct StoredJob {
    JobId id;
    std::vector<Fd> descriptors;
};

class Supervisor {
  public:
    // on_peer: a process was started, this is our end of its socket. Ends the loop when jobletd is gone.
    Supervisor(EventLoop& loop, Fd socket, std::function<void(Role, std::uint32_t, Fd)> on_peer);

    void put(JobId key, std::span<const int> descriptors);
    void drop(JobId key);
    void replace(Role role, std::uint32_t index = 0);
    // Requests are answered from now on. Only the first call says so.
    void ready();
    // What jobletd kept for an earlier broker. Once, at start.
    Completion<std::vector<StoredJob>> get_all();

  private:
    void send(const SupervisionMessage& message, std::span<const int> descriptors = {});
    void receive();

    EventLoop& loop_;
    Fd socket_;
    std::function<void(Role, std::uint32_t, Fd)> on_peer_;
    bool is_ready_ = false;
    std::vector<StoredJob> stored_;
    Completion<std::vector<StoredJob>> all_stored_;
};

} // namespace joblet::broker
