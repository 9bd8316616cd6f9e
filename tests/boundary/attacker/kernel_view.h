// What the kernel and the disk say, compared with the model. Looks for itself: at directories, cgroups, mountinfo, loop devices, rows of
// quotas and proc, and asks no daemon.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/boundary/attacker/model.h"
#include "tests/system/installation.h"

namespace joblet::testing {

// Whether the store of an attack is on a file system with project quotas: JOBLET_TEST_STORE says so, where the kernel has them.
bool has_quota_store();

// Of whose descriptors the broker has some, besides those of jobs.
struct BrokerHolds {
    std::size_t connections = 0;
    std::size_t channels = 0;
};

class KernelView {
  public:
    // Whether each daemon is ready to serve: it has then put on its filter of system calls, and what it has open and mounted is whole.
    [[nodiscard]] static bool daemons_are_ready(const Installation& here);
    // Call when the daemons serve and nothing is alive: how it is then is how it must be whenever nothing is alive.
    explicit KernelView(const Installation& here);

    // In sentences; none: they agree.
    [[nodiscard]] std::vector<std::string> differences(const Model& model, const BrokerHolds& held) const;
    // One line for each daemon: what it has now, beside what it had.
    [[nodiscard]] std::string resources() const;

  private:
    struct Daemon {
        pid_t pid = -1;
        std::string name;
        std::size_t descriptors = 0; // without namespaces
        std::size_t memory_kib = 0;  // anonymous, resident
        std::vector<std::string> mounts;
    };
    [[nodiscard]] std::vector<Daemon> look_at_daemons() const;
    void compare_daemons(const Model& model, const BrokerHolds& held, std::vector<std::string>& out) const;
    void compare_store(const Model& model, std::vector<std::string>& out) const;
    void compare_groups(const Model& model, std::vector<std::string>& out) const;
    void compare_quotas(const Model& model, std::vector<std::string>& out) const;
    void compare_loops(const Model& model, std::vector<std::string>& out) const;
    void compare_mounts(const Model& model, std::vector<std::string>& out) const;
    [[nodiscard]] std::map<std::string, std::string> loops() const; // device to the id of its volume

    const Installation& here_;
    std::string host_namespace_;
    std::vector<Daemon> before_;
};

} // namespace joblet::testing
