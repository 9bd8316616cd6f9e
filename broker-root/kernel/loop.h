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

// The device that a file system is on, of its number as st_dev of what lies on it; open for reading. ENXIO: no loop device has that number,
// or what is called so is none.
Result<Fd> open_loop(int devices, std::uint64_t number);
struct LoopBinding {
    std::uint64_t file_system = 0;  // st_dev of the file that it is bound to
    std::uint64_t inode = 0;        // and st_ino
    std::uint64_t block_device = 0; // st_rdev, if that is no file but a device; otherwise 0
};
// ENXIO: it is bound to nothing.
Result<LoopBinding> loop_binding(int device);
// Whether that file is what the device is bound to.
Result<bool> is_loop_of(int device, int file);
// The device gets the length that its file has now, which must not be less. Needs SYS_ADMIN.
Result<void> refresh_loop_size(int device);

} // namespace joblet::kernel
