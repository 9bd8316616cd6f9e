// Our groups in cgroup2: `joblet` (or one named after the root), in it `jobs`, where the broker makes a group for each job, and
// one group for each process that jobletd starts, so that any of them can be ended without CAP_KILL and without a race.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "broker-root/jobletd/caretaker.h"
#include "shared/fd.h"

namespace joblet::jobletd {

// Of the root group: HandOn changes what every group on the machine gets.
enum class TopControllers : std::uint8_t { AsTheyAre, HandOn };

class CgroupTree {
  public:
    // Finds cgroup2 at /sys/fs/cgroup or /sys/fs/cgroup/unified and makes the tree of the installation at `root` ("" for /).
    // The tree and jobs/ hand on the controllers that they have, so that the group of each job gets them.
    // Forks, and needs more power than the rest: see caretaker.h. An error is a sentence with a hint.
    static std::expected<CgroupTree, std::string> make(const std::string& root, TopControllers top);

    // Ends what an earlier jobletd left in it besides jobs: waits at most 5 s. Hold the lock.
    std::expected<void, std::string> end_leftovers();

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
    [[nodiscard]] bool has_retired() const {
        return !retired_.empty();
    }

    // At the end: groups of jobs that are over, then the tree itself unless jobs live in it.
    void remove();

  private:
    CgroupTree(Fd tree, Fd jobs, Caretaker caretaker);

    Fd tree_;
    Fd jobs_;
    Caretaker caretaker_;
    std::vector<Group> retired_;
    unsigned long last_number_ = 0;
};

} // namespace joblet::jobletd
