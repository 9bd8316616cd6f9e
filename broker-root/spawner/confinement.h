// The spawner's own confinement, put on before it serves.
#pragma once

#include <expected>
#include <string>

#include "broker-root/kernel/result.h"
#include "broker-root/spawner/stage.h"
#include "shared/fd.h"

namespace joblet::spawner {

struct Filters {
    FilterProgram own;      // S
    FilterProgram controls; // refused to the spawner, its stages and its jobs alike
    StageFilters stage;
};
// Compiled before anything is given up; installing them needs no memory. An error is a sentence.
std::expected<Filters, std::string> compile_filters();

// A mount namespace that holds one empty, read-only directory: a stage is cloned in no time, and there is nothing to open.
// `proc`: a detached proc mount.
kernel::Result<void> enter_empty_namespace(int proc);

// Capabilities down to what stages need, no_new_privs, and the filters.
kernel::Result<void> confine(const Filters& filters);

} // namespace joblet::spawner
