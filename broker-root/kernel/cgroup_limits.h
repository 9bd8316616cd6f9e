// Controllers of cgroup2, and the limits that they hold a group to: Documentation/admin-guide/cgroup-v2.rst of Linux.
// `group` is a directory of cgroup2, O_PATH will do. Whatever is written is read back where the kernel may take something else than
// what it was given: EOVERFLOW if what it holds is not the limit that was asked for.
#pragma once

#include <cstdint>

#include "broker-root/kernel/result.h"
#include "shared/protocol_types.h"

namespace joblet::kernel {

// Bits protocol::kController…; others that the kernel has are not looked at.
Result<std::uint32_t> available_controllers(int group); // cgroup.controllers: what its parent gives it
Result<std::uint32_t> enabled_controllers(int group);   // cgroup.subtree_control: what the groups in it get
// For the groups in it; exactly one bit. ENOENT: it is not available. EBUSY, EOPNOTSUPP: a process lives in
// the group itself.
Result<void> enable_controller(int group, std::uint32_t controller);

// "max", no limit: also what a file says that nobody has written.
inline constexpr std::uint64_t kNoLimit = UINT64_MAX;

// What the kernel then holds is given back: whole pages, never more than was asked. 0 is EINVAL. ENOENT: no memory controller.
Result<std::uint64_t> set_memory_max(int group, std::uint64_t bytes);
Result<std::uint64_t> memory_max(int group);
// The same, besides memory; 0: nothing of the group is swapped out. ENOENT: this kernel does not count swap.
Result<std::uint64_t> set_swap_max(int group, std::uint64_t bytes);
// When memory runs out, all of the group is killed: a job with a process missing would go on as nobody meant it. ENOENT: no memory
// controller.
Result<void> end_together(int group);
// Processes and threads. 0 is EINVAL: nothing could be started. ENOENT: no pids controller.
Result<void> set_pids_max(int group, std::uint64_t count);
Result<std::uint64_t> pids_max(int group);
// Thousandths of a CPU, in periods of 100 ms. The kernel refuses less than 10 (EINVAL). ENOENT: no cpu controller.
Result<void> set_cpu_max(int group, std::uint64_t milli);
// All four of a whole block device at once; 0: none, also if there was one before. Operations beyond 2^32-2 per second are held to that:
// the kernel counts no further. EINVAL: a limit of 1, which it refuses. ENODEV: a partition, or there is no such device. ENOENT: no io
// controller.
Result<void> set_io_max(int group, const protocol::Device& device, const protocol::IoLimits& limits);

} // namespace joblet::kernel
