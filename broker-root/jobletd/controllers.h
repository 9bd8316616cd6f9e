// Controllers of cgroup2 reach a group only if each group above it hands them on.
#pragma once

#include <string_view>

namespace joblet::jobletd {

// Hands on to the groups in `group` what it has of protocol::kControllersAll and does not hand on yet. No process may live in it itself,
// unless it is the root. What cannot be is logged, with what is lost by it; the others are handed on all the same. `title` is for the log.
void hand_on_controllers(int group, std::string_view title);

// Logs which of them `group` lacks although `above` has them, with `hint`, how to change that.
void tell_missing_controllers(int above, int group, std::string_view hint);

} // namespace joblet::jobletd
