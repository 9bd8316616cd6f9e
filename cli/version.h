// rnx version
#pragma once

#include "cli/arguments.h"

namespace joblet::cli {

// A daemon that cannot be reached is no error: it is part of the answer.
int show_version(const CommandLine& line);

} // namespace joblet::cli
