// What the spawner and its stages may call (S): all that a job may, because a filter is inherited and only ever gets
// narrower, and the few calls that make a job's world. All else is EPERM, not death: the job's own filter answers so.
#pragma once

#include <span>

#include "shared/filter.h"

namespace joblet::spawner {

// Beyond job_calls().
std::span<const SyscallRule> stage_calls();

} // namespace joblet::spawner
