// Pid 1 of a job: the stage after it has given up everything.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>

#include "broker-root/spawner/channels.h"
#include "shared/filter.h"

namespace joblet::spawner {

struct InitStart {
    pid_t job = 0;          // the command's process; SIGCHLD has been blocked since before it was forked
    std::uint32_t user = 0; // its uid, inside
    int start_pipe = -1;    // reading end, O_NONBLOCK, of what run_job writes to
    std::int64_t started_ns = 0;
    std::int64_t timeout_ns = 0; // 0: none
    bool is_detached = false;    // what follows is there, and the control socket is not read
    Channels channels;
    std::array<int, 2> output = {-1, -1}; // stdout and stderr, reading ends, O_NONBLOCK
    std::array<int, 2> log_files = {-1, -1};
    std::uint64_t log_bytes = 0;
};

// Drops to an id that the job cannot touch, installs the filter, closes the job's stdio. Then reaps, passes signals on from
// both sockets to the job's process group, and hangs up on it when rnx is gone, or terminates it when its time is over. A detached
// job's output it writes to the log. When the command ends, it publishes the exit record and ends, and with it everything left in
// the pid namespace.
[[noreturn]] void run_init(const InitStart& start, const FilterProgram& filter) noexcept;

} // namespace joblet::spawner
