// The privileged half of a job's start: from the clone to the fork of the command.
#pragma once

#include <span>

#include "broker-root/spawner/launch.h"
#include "shared/fd.h"
#include "shared/filter.h"

namespace joblet::spawner {

struct StageFilters {
    FilterProgram job;  // J, for the command
    FilterProgram init; // for pid 1 once the command is forked
};

// In the child of the clone, as pid 1 of the new pid namespace with the spawner's capabilities. `descriptors` as in
// LaunchDescriptor. A step that fails is published as the end of the job.
[[noreturn]] void run_stage(const Launch& order, std::span<const Fd> descriptors, const StageFilters& filters);

} // namespace joblet::spawner
