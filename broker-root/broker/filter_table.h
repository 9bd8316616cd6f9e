// Every system call that the broker makes while it serves, and that its closer makes.
#pragma once

#include <span>

#include "shared/filter.h"

namespace joblet::broker {

std::span<const SyscallRule> filter_table();
std::span<const SyscallRule> closer_calls();

} // namespace joblet::broker
