// Capabilities of a whole process: set for good, but for those that are taken up for one call.
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
// Both, and no_new_privs, and not dumpable: the last thing but the filter that a daemon does when it starts. `on_demand`: permitted
// besides, but not effective: see RaisedCapabilities.
Result<void> confine_process(CapabilityMask keep, CapabilityMask on_demand = 0);
// Those of `wanted` that this process may have at all.
Result<CapabilityMask> permitted_among(CapabilityMask wanted);

// Makes capabilities effective that are only permitted, as long as it lives. If it cannot take them back the process ends, because all that
// it does then would be done with them.
class RaisedCapabilities {
  public:
    static Result<RaisedCapabilities> raise(CapabilityMask more); // EPERM: not all of them are permitted
    ~RaisedCapabilities();
    RaisedCapabilities(RaisedCapabilities&& other) noexcept : lowered_(other.lowered_), is_raised_(other.is_raised_) {
        other.is_raised_ = false;
    }
    RaisedCapabilities& operator=(RaisedCapabilities&&) = delete;
    RaisedCapabilities(const RaisedCapabilities&) = delete;
    RaisedCapabilities& operator=(const RaisedCapabilities&) = delete;

  private:
    struct Sets {
        CapabilityMask permitted = 0;
        CapabilityMask effective = 0;
        CapabilityMask inheritable = 0;
    };
    explicit RaisedCapabilities(const Sets& lowered) : lowered_(lowered) {}

    Sets lowered_;
    bool is_raised_ = true;
};

// Fails unless exactly descriptors 0, 1, 2 and 3 … last are open. EBADF: one is missing; EMFILE: there is another.
Result<void> check_inherited_descriptors(int last);

} // namespace joblet::kernel
