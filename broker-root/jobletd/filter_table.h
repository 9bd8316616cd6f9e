// What jobletd, and everything that it ever starts, may call. A filter survives fork and exec and only ever gets narrower, so
// this one has to hold what each of the others needs, jobs included; each of them then installs its own, far shorter one.
// What is not here (ptrace, bpf, io_uring, keyrings, kernel modules, mount(2), handles, …) nothing of ours can ever call.
#pragma once

#include <expected>
#include <span>
#include <string>
#include <vector>

#include "shared/filter.h"

namespace joblet::jobletd {

// What jobletd calls itself, and what the others call while they set themselves up.
std::span<const SyscallRule> own_calls();

// The union of own_calls() and the others' tables: one row for each number and set of conditions; a row without conditions
// stands for all of its number.
std::vector<SyscallRule> filter_table();

// no_new_privs is set. All else fails with EPERM and does not kill: the filters of the others have the say in that, and kill
// where that is meant; a job must be told EPERM. An error is a sentence.
std::expected<void, std::string> install_own_filter();

} // namespace joblet::jobletd
