// From a file system to the whole block devices that hold it, which are what limits of reading and writing are set on: a partition has
// none of its own, and what stands on several disks is as fast as all of them.
//
// `sysfs` is a directory: /sys. Its links are followed, and lead nowhere else; its text is the kernel's own.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "broker-root/kernel/result.h"
#include "shared/protocol_types.h"

namespace joblet::kernel {

using BtrfsId = std::array<std::uint8_t, 16>; // fsid, by which sysfs has its devices

struct FileSystemSource {
    protocol::Device device;      // st_dev of what lies on it
    std::optional<BtrfsId> btrfs; // where st_dev is no device at all
};
// Of the one that `fd`, open for reading, is on. Another one than btrfs that has no device (tmpfs, overlay, NFS): ENODEV.
Result<FileSystemSource> file_system_source(int fd);

// What lies below a loop device: it is the file system of the file, or the block device, that it is bound to.
using BelowLoop = std::function<Result<FileSystemSource>(const protocol::Device& loop)>;

// Each once. A disk is itself; a partition its disk; what was made by device mapper or md is what it was made of; a loop device is itself
// and what is below. ENODEV: it is not known. E2BIG: more than `most`, or too many on the way. ELOOP: too deep. Otherwise what reading
// sysfs said, EBADMSG if it is written otherwise than it should be.
Result<std::vector<protocol::Device>> whole_devices(int sysfs, const FileSystemSource& source, std::size_t most,
                                                    const BelowLoop& below_loop);

// The machine's BelowLoop. `devices`: /dev. The file is found by the name that the kernel gives, and is taken only if it is the same that
// the device says it has; ENODEV if its file system is not known in any other way.
Result<FileSystemSource> below_loop(int sysfs, int devices, const protocol::Device& loop);

} // namespace joblet::kernel
