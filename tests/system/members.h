// The processes of an installation, told apart by what they are: daemons, and each job's first process and command.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/system/installation.h"

namespace joblet::testing {

struct Member {
    pid_t pid = -1;
    std::string process; // as in tests/tables/process_tables.h: "joblet-worker", "pid 1 of a job", "job"; "" for one that is not finished
    std::map<std::string, std::string> status; // of /proc/PID/status; read once, so it is of one moment
};

// Of /proc/PID/status: word before the colon, rest of the line. Empty if the process is gone.
std::map<std::string, std::string> status_of(pid_t pid);

// All that are in the installation's cgroups, with jobletd and its cgroup process. One whose filters are not all there yet is not
// finished: what it has it may be about to give up.
std::vector<Member> members_of(const Installation& here);

} // namespace joblet::testing
