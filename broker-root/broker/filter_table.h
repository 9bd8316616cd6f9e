// Every system call that the broker makes while it serves.
#pragma once

#include <span>

#include "shared/filter.h"

namespace joblet::broker {

std::span<const SyscallRule> filter_table();

} // namespace joblet::broker
