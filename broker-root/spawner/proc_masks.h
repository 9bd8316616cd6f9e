// What a job does not see of a whole proc (kLaunchMaskedProc).
//
// All of these lie over proc in the job's own mount namespace, which belongs to a user namespace that is not the job's: it cannot
// take them away, with any capability that it could get in one of its own, and filter J has no mount calls anyway. Not masked is
// what programs look at to fit themselves to the machine: meminfo, stat, cpuinfo, loadavg, uptime, vmstat, version and their kin.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "broker-root/kernel/result.h"

namespace joblet::spawner {

enum class MaskKind : std::uint8_t { File, Directory };
struct ProcMask {
    const char* path;
    MaskKind kind;
    std::string_view reason;
};
std::span<const ProcMask> proc_masks();

// In the job's mount namespace, with its /dev and its whole /proc in place. Files become the job's /dev/null, directories one empty
// read-only tmpfs. What this kernel does not have is skipped; any other failure is one.
kernel::Result<void> mask_proc();

} // namespace joblet::spawner
