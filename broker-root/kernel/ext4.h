// What only ext4 can be asked.
#pragma once

#include <cstdint>

#include "broker-root/kernel/result.h"

namespace joblet::kernel {

// f_type, statfs(2)
inline constexpr std::uint64_t kExt4Magic = 0xEF53;
// EXT4_IOC_RESIZE_FS: _IOW('f', 16, __u64). No header for programs has it (fs/ext4/ext4.h of Linux 3.3 and later).
inline constexpr unsigned long kExt4Resize = 0x40086610;

// Grows the file system that `directory`, open for reading, is on to so many blocks of its own size, while it is mounted; its journal is
// written before this comes back. Needs CAP_SYS_RESOURCE, effective. EINVAL: they would be fewer.
Result<void> grow_ext4(int directory, std::uint64_t blocks);

} // namespace joblet::kernel
