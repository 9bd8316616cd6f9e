// The calls that a worker makes once it serves, each with its reason. Whatever else it calls ends it.
#pragma once

#include <span>

#include "shared/filter.h"

namespace joblet::worker {

std::span<const SyscallRule> worker_calls();

} // namespace joblet::worker
