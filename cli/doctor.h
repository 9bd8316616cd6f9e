// rnx doctor.
#pragma once

#include "cli/arguments.h"
#include "cli/host_checks.h"

namespace joblet::cli {

// What rnx has found and what the daemon says. The exit status: 1 if there are differences, or if the daemon could not be asked.
int show_health(const HostTexts& texts, const CommandLine& line);

} // namespace joblet::cli
