// The system call tables of all processes, each with what its program does with it: what docs/system-calls.md is written from,
// and what the compiled filters, the filters of running daemons, and traces of them are compared with.
#pragma once

#include <string_view>
#include <vector>

#include "shared/filter.h"

namespace joblet::testing {

struct ProcessTable {
    std::string_view process; // "joblet-worker"; "pid 1 of a job", "controls" where that is no program of its own
    std::string_view source;  // the file that has the table
    std::string_view remark;  // when it is installed, and what is special about it
    std::vector<SyscallRule> own;
    std::vector<std::string_view> includes; // processes whose rows it has, too
    std::vector<SyscallRule> calls;         // all of them: what compile_filter gets
    std::vector<SyscallRefusal> refusals;
    OtherCalls others;
    std::vector<std::string_view> inherited; // processes whose filters hold for it as well, the first one first
};
std::vector<ProcessTable> process_tables();

// Throws if there is none, or if it does not compile.
const ProcessTable& table_of(std::string_view process);
FilterProgram compiled(const ProcessTable& table);

// Exactly what /proc/PID/status must say: CapEff is `effective`, CapPrm and CapBnd are that and `on_demand`, CapInh and CapAmb are
// empty. Numbers are those of linux/capability.h.
struct ProcessCapabilities {
    std::string_view process;
    std::vector<int> effective;
    std::vector<int> on_demand; // where the machine gives all of them to root; otherwise none
    // Joining a user namespace fills the bounding set again. pid 1 leaves it so: it executes nothing, has nothing permitted, and
    // no_new_privs; a command drops it.
    bool is_bounded = true;
};
const std::vector<ProcessCapabilities>& process_capabilities();
std::string_view capability_name(int capability);

} // namespace joblet::testing
