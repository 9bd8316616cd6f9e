// The privileged half of a job's start: from the clone to the fork of the command.
#pragma once

#include <array>
#include <csignal>
#include <span>

#include "broker-root/spawner/launch.h"
#include "shared/fd.h"
#include "shared/filter.h"

namespace joblet::spawner {

// What the spawner ignores, and a job must find as ever: a stage sets it back.
inline constexpr std::array kIgnoredSignals = {SIGCHLD, SIGPIPE};

struct StageFilters {
    FilterProgram job;  // J, for the command
    FilterProgram init; // for pid 1 once the command is forked
};
inline constexpr int kNoLabels = -1;

// In the child of the clone, as pid 1 of the new pid namespace with the spawner's capabilities. `descriptors` as in
// LaunchDescriptor. `label_proc`: the spawner's proc, for SELinux labels, or kNoLabels. A step that fails is published as the end of the
// job. noexcept, like all that runs after a fork here: what is thrown ends the child, and never gets back into a copy of the parent.
[[noreturn]] void run_stage(const Launch& order, std::span<const Fd> descriptors, const StageFilters& filters, int label_proc) noexcept;

} // namespace joblet::spawner
