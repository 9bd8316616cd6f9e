// Where the end of a job is told.
#pragma once

#include "shared/error.h"
#include "shared/exit_record.h"

namespace joblet::spawner {

struct Channels {
    int record = -1;  // regular file, O_APPEND
    int status = -1;  // the broker's socket
    int control = -1; // rnx's socket
};

// File, then broker, then rnx: who has seen the end can count on the others before it. Never blocks; a peer that is gone
// misses it. Async-signal-safe.
void publish_exit(const Channels& channels, const ExitRecord& record);

// A record that says at which step the job's world could not be made. Times: now.
ExitRecord setup_failure(Step step, int sys_errno);

std::int64_t now_ns(); // CLOCK_REALTIME

} // namespace joblet::spawner
