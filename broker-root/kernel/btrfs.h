// btrfs: subvolumes, and the limit of what one may hold. What these say on any other file system is ENOTTY.
#pragma once

#include <cstdint>

#include "broker-root/kernel/result.h"

namespace joblet::kernel {

// Inode number of the root of every subvolume.
inline constexpr std::uint64_t kSubvolumeInode = 256;

// `directory` is open for reading. Root's, with the mode that the umask leaves of 0777. EEXIST if there is anything of that name.
Result<void> make_subvolume(int directory, const char* name);
// What the subvolume, open for reading, refers to is at most so many bytes, its own tree included. Replaces the limit that there
// was. ENOTCONN: quotas are off.
Result<void> limit_subvolume(int subvolume, std::uint64_t bytes);
// Of the subvolume that `subvolume`, open for reading, is the root of.
Result<std::uint64_t> subvolume_id(int subvolume);
// With everything in it, in use or not. ENOENT; ENOTEMPTY, and nothing is changed, if another subvolume lies in it.
Result<void> destroy_subvolume(int directory, const char* name);
// Forgets what was counted and limited for the subvolume of that id. `directory`: any on that file system.
Result<void> remove_quota_group(int directory, std::uint64_t subvolume_id);

} // namespace joblet::kernel
