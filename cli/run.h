// rnx run …
#pragma once

#include "cli/arguments.h"
#include "cli/run_request.h"

namespace joblet::cli {

// Runs a job in the foreground, with our own stdin, stdout and stderr or with a terminal of its own. Returns its exit status as a
// shell would see it; 125 after having said why, or CommandFailure, if it was not the job that failed. Detached, or only to be
// described: 0 once that is shown.
int run_job(const Run& run, const Opened& opened, const CommandLine& line);

} // namespace joblet::cli
