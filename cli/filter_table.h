// Every system call that rnx makes once it knows what was asked. rnx runs with its user's whole power, also root's, and
// reads what a daemon sends: that daemon gains nothing by lying to it.
#pragma once

#include <span>

#include "shared/filter.h"

namespace joblet::cli {

std::span<const SyscallRule> filter_table();

} // namespace joblet::cli
