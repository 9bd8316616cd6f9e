// What a job may call (J). Everything an ordinary program needs, runtimes of languages included; nothing that makes or
// enters namespaces, mounts, traces, or programs the kernel. All else is EPERM.
#pragma once

#include <span>

#include "shared/filter.h"

namespace joblet::spawner {

std::span<const SyscallRule> job_calls();

// clone3 hides its flags behind a pointer: ENOSYS, and the C library takes clone.
std::span<const SyscallRefusal> job_refusals();

// Beside J, because an allowlist cannot say "every ioctl but these". Holds for the spawner and its stages as well, who need
// none of them: it is installed once and inherited by every job.
std::span<const SyscallRefusal> refused_controls();

} // namespace joblet::spawner
