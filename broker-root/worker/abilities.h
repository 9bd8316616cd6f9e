// What this machine lets a worker do beyond what it needs: found out once, at its start, and the same for every worker.
#pragma once

#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/mount.h"

namespace joblet::worker {

struct Abilities {
    kernel::Swap memory_swap = kernel::Swap::Allowed; // of memory volumes: Never where the kernel can
    kernel::CapabilityMask growing = 0;               // to raise for growing an image that is attached; none: that cannot be done
    bool has_labels = false;                          // volumes and jobs' mounts get SELinux labels: see kernel/selinux.h
};

} // namespace joblet::worker
