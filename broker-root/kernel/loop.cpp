#include "broker-root/kernel/loop.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <climits>
#include <cstdio>
#include <utility>

#include "broker-root/kernel/mount.h"

namespace joblet::kernel {
namespace {

// The kernel tells which device is free and binds it in two calls: between them another worker may take it.
constexpr int kAttempts = 64;

Result<Fd> open_numbered(int devices, int number, int flags) {
    std::array<char, 16> name{};
    std::snprintf(name.data(), name.size(), "loop%d", number);
    auto device = open_beneath(devices, name.data(), flags);
    if (!device) {
        return device;
    }
    struct stat status{};
    if (::fstat(device->get(), &status) < 0) {
        return last_errno();
    }
    if (!S_ISBLK(status.st_mode) || major(status.st_rdev) != LOOP_MAJOR) {
        return std::unexpected(ENXIO);
    }
    return device;
}

} // namespace

Result<LoopDevice> attach_loop(int devices, int file, LoopAccess access) {
    const auto control = open_beneath(devices, "loop-control", O_RDWR);
    if (!control) {
        return std::unexpected(control.error());
    }
    const bool read_only = access == LoopAccess::ReadOnly;
    loop_config wanted{};
    wanted.fd = static_cast<__u32>(file);
    wanted.info.lo_flags = static_cast<__u32>(LO_FLAGS_AUTOCLEAR) | (read_only ? static_cast<__u32>(LO_FLAGS_READ_ONLY) : 0U);
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const int number = ::ioctl(control->get(), LOOP_CTL_GET_FREE);
        if (number < 0) {
            return last_errno();
        }
        auto device = open_numbered(devices, number, read_only ? O_RDONLY : O_RDWR);
        if (!device) {
            return std::unexpected(device.error());
        }
        if (::ioctl(device->get(), LOOP_CONFIGURE, &wanted) < 0) {
            if (errno == EBUSY) {
                continue;
            }
            return last_errno();
        }
        // Bound for writing, held for reading: kernels without CONFIG_BLK_DEV_WRITE_MOUNTED refuse to mount a device that
        // somebody has open for writing.
        auto held = open_numbered(devices, number, O_RDONLY);
        if (!held) {
            return std::unexpected(held.error());
        }
        LoopDevice out;
        out.device = std::move(*held);
        std::snprintf(out.path.data(), out.path.size(), "/dev/loop%d", number);
        return out;
    }
    return std::unexpected(EBUSY);
}

Result<Fd> open_loop(int devices, std::uint64_t number) {
    if (major(number) != LOOP_MAJOR || minor(number) > INT_MAX) {
        return std::unexpected(ENXIO);
    }
    auto device = open_numbered(devices, static_cast<int>(minor(number)), O_RDONLY);
    if (!device) {
        return device;
    }
    // Where a device has partitions, its numbers are not those of the names
    struct stat status{};
    if (::fstat(device->get(), &status) < 0) {
        return last_errno();
    }
    return status.st_rdev == number ? std::move(device) : std::unexpected(ENXIO);
}

Result<LoopBinding> loop_binding(int device) {
    loop_info64 bound{};
    if (::ioctl(device, LOOP_GET_STATUS64, &bound) < 0) {
        return last_errno();
    }
    return LoopBinding{.file_system = bound.lo_device, .inode = bound.lo_inode, .block_device = bound.lo_rdevice};
}

Result<bool> is_loop_of(int device, int file) {
    const auto bound = loop_binding(device);
    if (!bound) {
        return std::unexpected(bound.error());
    }
    struct stat status{};
    if (::fstat(file, &status) < 0) {
        return last_errno();
    }
    return bound->inode == status.st_ino && bound->file_system == status.st_dev;
}

Result<void> refresh_loop_size(int device) {
    if (::ioctl(device, LOOP_SET_CAPACITY) < 0) {
        return last_errno();
    }
    return {};
}

} // namespace joblet::kernel
