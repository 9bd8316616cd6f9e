// Our end of a job's control socket: signals go in, one exit record comes out. Needs no daemon.
#pragma once

#include <optional>

#include "shared/exit_record.h"
#include "shared/fd.h"

namespace joblet::cli {

// From now on the signals that are passed on to a job arrive at this descriptor (signalfd) instead of ending rnx. Those
// that rnx was told to ignore (nohup, a shell's background job) stay ignored.
Fd take_over_signals();

// Passes signals on until the job has ended. nullopt: the other end is gone and left no valid record.
std::optional<ExitRecord> follow_job(int control, int signals);

} // namespace joblet::cli
