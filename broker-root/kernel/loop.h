// Loop devices that live exactly as long as something uses them.
#pragma once

#include <array>
#include <cstdint>

#include "broker-root/kernel/result.h"
#include "shared/fd.h"

namespace joblet::kernel {

enum class LoopAccess : std::uint8_t { ReadWrite, ReadOnly };

struct LoopDevice {
    Fd device;                   // keeps the device bound until something else does (a mount); closing the last unbinds it
    std::array<char, 24> path{}; // "/dev/loopN" of the caller's namespace
};

// Binds `file` to a free device, autoclear. `devices`: a directory that holds loop-control and the nodes, which is /dev of
// the caller's namespace. `file` must be open for writing unless ReadOnly. The device holds the open file, its flock(2) too.
// EBUSY: others were faster every time. ENXIO: what is called loopN there is no loop device.
Result<LoopDevice> attach_loop(int devices, int file, LoopAccess access);

} // namespace joblet::kernel
