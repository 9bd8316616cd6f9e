// The system calls of joblet-api once it serves: nothing that opens a path, makes a socket, a process or a program.
#pragma once

#include <span>

#include "shared/filter.h"

namespace joblet::api {

std::span<const SyscallRule> allowed_calls();

} // namespace joblet::api
