// /proc/PID/mountinfo in parts, and what a job may see of it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/boundary/attacker/model.h"

namespace joblet::testing {

struct Mount {
    std::string root; // of the mounted file system: the fourth field of proc_pid_mountinfo(5)
    std::string where;
    std::string options; // of this mount
    std::string type;
    std::string source;
    std::string line;
};
std::vector<Mount> mount_table(std::string_view mountinfo);

// Of a job that runs: each of its volumes where it should be and how, and nothing besides but what every job has. `devices`: loop
// devices by the id of the volume that they hold.
void compare_job_mounts(const Model& model, const JobId& id, const std::vector<Mount>& mounts,
                        const std::map<std::string, std::string>& devices, std::vector<std::string>& out);

} // namespace joblet::testing
