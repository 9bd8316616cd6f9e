// What the bases that are made here have in common. Everything lies in a directory that only root can write to.
#pragma once

#include <string_view>

#include "broker-root/kernel/result.h"

namespace joblet::jobletd {

// Names for the two ids that programs ask for most: the one a job has, and the one that stands for what it cannot see.
inline constexpr std::string_view kPasswd = "root:x:0:0:root:/work:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
inline constexpr std::string_view kGroup = "root:x:0:\nnogroup:x:65534:\n";

// A file or a directory with all that is in it. No symbolic link is followed. Not an error if there is none.
kernel::Result<void> remove_tree(int parent, const char* name);

// Mode 0644, synced. EEXIST if there is anything of that name. `path` may have several components below `base`.
kernel::Result<void> write_new_file(int base, const char* path, std::string_view text);

} // namespace joblet::jobletd
