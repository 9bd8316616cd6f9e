// Pid 1 of a job: the stage after it has given up everything.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "broker-root/spawner/channels.h"
#include "shared/filter.h"

namespace joblet::spawner {

struct InitStart {
    pid_t job = 0;       // the command's process; SIGCHLD has been blocked since before it was forked
    int start_pipe = -1; // reading end, O_NONBLOCK, of what run_job writes to
    std::int64_t started_ns = 0;
    Channels channels;
};

// Drops to an id that the job cannot touch, installs the filter, closes the job's stdio. Then reaps, passes signals on from
// both sockets to the job's process group, and hangs up on it when rnx is gone. When the command ends, it publishes the exit
// record and ends, and with it everything left in the pid namespace.
[[noreturn]] void run_init(const InitStart& start, const FilterProgram& filter) noexcept;

} // namespace joblet::spawner
