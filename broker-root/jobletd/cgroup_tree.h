// Our groups in cgroup2: `joblet` (or one named after the root), in it `jobs`, where the broker makes a group for each job, and
// one group for each process that jobletd starts, so that any of them can be ended without CAP_KILL and without a race.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "shared/fd.h"

namespace joblet::jobletd {

class CgroupTree {
  public:
    // Finds cgroup2 at /sys/fs/cgroup or /sys/fs/cgroup/unified, makes the tree of the installation at `root` ("" for /), and
    // ends what an earlier jobletd left in it besides jobs: waits at most 5 s. An error is a sentence with a hint.
    static std::expected<CgroupTree, std::string> make(const std::string& root);

    // O_PATH directory of jobs/.
    [[nodiscard]] int jobs() const {
        return jobs_.get();
    }

    struct Group {
        std::string name;
        Fd directory; // O_PATH
    };
    // A group that never existed before: prefix-1, prefix-2, …
    std::expected<Group, std::string> make_group(const std::string& prefix);
    // SIGKILL to all in it; then it is to be retired.
    void kill(const Group& group);
    // Removes it as soon as it is empty: now, or in remove_retired.
    void retire(Group group);
    // True when none is left.
    bool remove_retired();

    // At the end: groups of jobs that are over, then the tree itself unless jobs live in it.
    void remove();

  private:
    CgroupTree(Fd parent, std::string name, Fd tree, Fd jobs);
    std::expected<void, std::string> end_leftovers();

    Fd parent_;
    std::string name_;
    Fd tree_;
    Fd jobs_;
    std::vector<Group> retired_;
    unsigned long last_number_ = 0;
};

} // namespace joblet::jobletd
