// btrfs: subvolumes, and the limit of what one may hold. What these say on any other file system is ENOTTY.
#pragma once

#include <array>
#include <cstdint>

#include "broker-root/kernel/result.h"

namespace joblet::kernel {

// Inode number of the root of every subvolume.
inline constexpr std::uint64_t kSubvolumeInode = 256;

// Of the whole file system, on which `fd`, open for reading, is: fsid.
Result<std::array<std::uint8_t, 16>> btrfs_id(int fd);
// `directory` is open for reading. Root's, with the mode that the umask leaves of 0777. EEXIST if there is anything of that name.
Result<void> make_subvolume(int directory, const char* name);
// What the subvolume of that id refers to is at most so many bytes, its own tree included. Replaces the limit that there was, and may be
// less than there is. `directory`: any on that file system outside of the subvolume, because a change of what is beyond its limit
// is refused, and this is one (EDQUOT). ENOTCONN: quotas are off.
Result<void> limit_subvolume(int directory, std::uint64_t subvolume_id, std::uint64_t bytes);
struct SubvolumeUsage {
    std::uint64_t bytes = 0;       // referred to, its own tree included
    std::uint64_t bytes_limit = 0; // 0: none
};
// As the file system counted when it last committed, which it does within 30 seconds (see sync_file_system); the limit is that of now.
// ENOTCONN: nothing is counted, quotas are off. Needs SYS_ADMIN. Two look-ups, whatever the file system holds.
Result<SubvolumeUsage> subvolume_usage(int subvolume);
// Of the subvolume that `subvolume`, open for reading, is the root of.
Result<std::uint64_t> subvolume_id(int subvolume);
// With everything in it, in use or not. ENOENT; ENOTEMPTY, and nothing is changed, if another subvolume lies in it.
Result<void> destroy_subvolume(int directory, const char* name);
// Forgets what was counted and limited for the subvolume of that id. `directory`: any on that file system.
Result<void> remove_quota_group(int directory, std::uint64_t subvolume_id);

} // namespace joblet::kernel
