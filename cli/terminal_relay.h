// Carries bytes between the caller and the terminal of a job. Needs no daemon.
#pragma once

#include <cstdint>
#include <optional>

#include "shared/exit_record.h"
#include "shared/fd.h"

namespace joblet::cli {

struct RelayEnds {
    int control;                   // the job's control socket
    int signals;                   // of take_over_signals(), with SIGWINCH
    int input;                     // goes to the job
    int output;                    // gets what the job writes
    bool input_is_terminal = true; // otherwise its end is the job's end of input: Ctrl-D
    bool output_blocks = true;     // a terminal whose writes cannot be told not to wait
};

struct RelayEnd {
    enum class Kind : std::uint8_t {
        Ended,       // the job has, or its other end is gone: see `record`
        InputGone,   // the caller's terminal hung up
        OutputBroken // nobody reads what the job writes
    };
    Kind kind = Kind::Ended;
    std::optional<ExitRecord> record; // nullopt: none came
};

// Until the job has ended and all that it wrote is written, or the caller's side is gone. Neither direction waits for the other.
// `master`: of the job's terminal.
RelayEnd relay_terminal(const RelayEnds& ends, Fd master);

} // namespace joblet::cli
