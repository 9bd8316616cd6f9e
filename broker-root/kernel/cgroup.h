// Groups of cgroup2 that hold one job each. Files are opened through a descriptor of the group, so nothing here is a path.
#pragma once

#include <cstdint>

#include "broker-root/kernel/result.h"
#include "shared/fd.h"

namespace joblet::kernel {

// Makes `name` below `parent` (an O_PATH directory of cgroup2) and opens it with O_PATH. EEXIST: a group is never used
// again, because one that was killed kills whatever is cloned into it later (seen on Linux 6.18).
Result<Fd> make_cgroup(int parent, const char* name);
// Opens an existing group. ENOENT if there is none.
Result<Fd> open_cgroup(int parent, const char* name);
// The calling process goes there.
Result<void> enter_cgroup(int group);
// cgroup.events, for polling with EPOLLPRI: it changes when the group becomes empty.
Result<Fd> open_cgroup_events(int group);
// Reads it anew, which also re-arms the poll. True if any process lives in the group or below.
Result<bool> is_populated(int events);
// How many processes of the group the kernel has killed for want of memory; 0 where there is no memory controller.
std::uint64_t memory_kills(int group);
// SIGKILL to every process in it, at once and without a race.
Result<void> kill_cgroup(int group);
// ENOENT counts as done.
Result<void> remove_cgroup(int parent, const char* name);

} // namespace joblet::kernel
