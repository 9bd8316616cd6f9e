// Our end of a job's control socket: signals go in, one exit record comes out. Needs no daemon.
#pragma once

#include <cstdint>
#include <optional>

#include "shared/exit_record.h"
#include "shared/fd.h"

namespace joblet::cli {

// From now on the signals that are passed on to a job arrive at this descriptor (signalfd) instead of ending rnx. Those
// that rnx was told to ignore (nohup, a shell's background job) stay ignored.
enum class WindowSize : std::uint8_t { Ignored, Watched }; // whether SIGWINCH is one of them
Fd take_over_signals(WindowSize window = WindowSize::Ignored);

// To rnx they do again what they always do, and at least one has come. Does not return.
[[noreturn]] void end_by_signal();
// The next one that came; 0: none did.
int next_signal(int signals);
// A job that does not take its signals may lose some, as it would from the kernel.
void pass_on(int control, int signal);

// Waits for what the stage sends next: the master side of the job's terminal or its record. Neither: the other end is gone, or
// sent what is not valid.
struct FromJob {
    std::optional<ExitRecord> record;
    Fd terminal;
};
FromJob receive_from_job(int control);

// Passes signals on until something comes from the job.
FromJob follow_job(int control, int signals);

} // namespace joblet::cli
