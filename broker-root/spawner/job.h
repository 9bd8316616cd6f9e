// The forked half of a job, from the fork to the exec: it gives up everything, then reads what it is to run.
#pragma once

#include "broker-root/worker/orders.h"
#include "shared/error.h"
#include "shared/filter.h"

namespace joblet::spawner {

// What goes through the start pipe if the command was not executed; the pipe is closed by exec otherwise.
struct StartFailure {
    Step step = Step::None; // Exec: the command could not be executed; everything else: the job's world could not be made
    std::int32_t sys_errno = 0;
};

struct JobStart {
    worker::JobKind kind{};
    std::uint32_t user = 0; // inside
    std::uint32_t group = 0;
    bool has_terminal = false; // stdio is a terminal of its own, which it must get as its controlling terminal
    int spec = -1;             // memfd, see shared/job_spec.h
    int start_pipe = -1;       // CLOEXEC
};

// Called as root of the slot's user namespace with all of its capabilities; 0, 1 and 2 are the job's own.
[[noreturn]] void run_job(const JobStart& start, const FilterProgram& filter) noexcept;

} // namespace joblet::spawner
