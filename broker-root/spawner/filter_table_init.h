// What pid 1 of a job may call once the command is forked. Anything else kills it, and the job with it.
#pragma once

#include <span>

#include "shared/filter.h"

namespace joblet::spawner {

std::span<const SyscallRule> init_calls();

} // namespace joblet::spawner
