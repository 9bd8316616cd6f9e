// Where groups of cgroup2 are. A place is a path from the top of cgroup2 without a slash at either end: "joblet.slice/jobs".
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "shared/fd.h"

namespace joblet::jobletd {

// The top, a directory: /sys/fs/cgroup or /sys/fs/cgroup/unified. An error is a sentence with a hint.
std::expected<Fd, std::string> find_cgroup2();

// A directory, not O_PATH. No symbolic link is followed. An error is errno.
std::expected<Fd, int> open_group(int top, std::string_view place);

// What /proc/PID/cgroup says of cgroup2; "" is the top itself. None if it says nothing, or if the group is outside of what this
// cgroup namespace sees.
std::optional<std::string> group_in(std::string_view text);

// This process's own. An error is a sentence.
std::expected<std::string, std::string> own_group();

// Whether `place` is `group` or lies in it.
bool lies_in(std::string_view place, std::string_view group);

} // namespace joblet::jobletd
