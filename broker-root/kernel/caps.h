// Capabilities of a whole process, set once and for good.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "broker-root/kernel/result.h"

namespace joblet::kernel {

using CapabilityMask = std::uint64_t; // bit n: capability n of linux/capability.h
CapabilityMask capability_mask(std::initializer_list<int> capabilities);

// Permitted and effective become `keep`, inheritable and ambient empty. Lowering only. Async-signal-safe.
Result<void> set_capabilities(CapabilityMask keep);
// The same for what is to be executed: inheritable and ambient are `keep` too, so that execve(2) with no_new_privs leaves
// all of them as they are. Needs `keep` in the bounding set. Async-signal-safe.
Result<void> set_capabilities_across_exec(CapabilityMask keep);
// Everything not in `keep` leaves the bounding set (needs SETPCAP). Async-signal-safe.
Result<void> drop_bounding(CapabilityMask keep);
// Both, and no_new_privs, and not dumpable: the last thing but the filter that a daemon does when it starts.
Result<void> confine_process(CapabilityMask keep);

// Fails unless exactly descriptors 0, 1, 2 and 3 … last are open. EBADF: one is missing; EMFILE: there is another.
Result<void> check_inherited_descriptors(int last);

} // namespace joblet::kernel
