// rnx run …
#pragma once

#include "cli/arguments.h"

namespace joblet::cli {

// Runs a job in the foreground with our own stdin, stdout and stderr. Returns its exit status as a shell would see it;
// 125 after having said why, or CommandFailure, if it was not the job that failed.
int run_job(const Run& run, const CommandLine& line);

} // namespace joblet::cli
