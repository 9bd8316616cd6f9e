// Joblet as a service of systemd, which is process 1 of the VM (tests/vm/run -s): installed as README.md says.
#pragma once

#include <string>

#include "tests/system/installation.h"

namespace joblet::testing {

inline constexpr const char* kService = "joblet.service";
inline constexpr const char* kServiceGroup = "/sys/fs/cgroup/system.slice/joblet.service";
inline constexpr const char* kKeeper = "joblet-jobs.service";
inline constexpr const char* kKeeperGroup = "/sys/fs/cgroup/joblet.slice/joblet-jobs.service";

// With what it says of itself in the journal, should it fail.
Outcome systemctl(Words words);
// The last lines of what the units said.
std::string journal();
std::string property(const std::string& unit, const std::string& name);

class SystemdService {
  public:
    // Started, and installed if it has not been yet. Throws if it does not start.
    SystemdService();
    // Stopped, its jobs ended. What is left then of daemons, jobs, groups, mounts and loop devices is a failed check.
    ~SystemdService();
    SystemdService(const SystemdService&) = delete;
    SystemdService& operator=(const SystemdService&) = delete;

    [[nodiscard]] Command rnx(Words words, uid_t uid = 0) const;
    Outcome run_rnx(Words words, uid_t uid = 0) const {
        return run(rnx(std::move(words), uid));
    }
    // stdout of a command that must succeed, parsed. Throws with its stderr otherwise.
    json json_of(Words words, uid_t uid = 0) const;
    void create(const std::string& name, const std::string& size = "2MiB") const;
    // `rnx run OPTIONS -- sh -c SCRIPT`.
    [[nodiscard]] Command shell_command(Words options, const std::string& script) const;
    Outcome shell(Words options, const std::string& script) const {
        return run(shell_command(std::move(options), script));
    }

    // Detached; its id.
    std::string start_job(Words options, const std::string& script) const;
    [[nodiscard]] json job(const std::string& id) const;
    // A file of its group, without the last newline; "" if there is none.
    [[nodiscard]] std::string group_file(const std::string& id, const std::string& file) const;
    // Its processes, as the host sees them.
    [[nodiscard]] std::string pids(const std::string& id) const {
        return group_file(id, "cgroup.procs");
    }
};

} // namespace joblet::testing
