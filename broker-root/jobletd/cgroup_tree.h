// Our groups in cgroup2: `jobs`, where the broker makes a group for each job, and one group for each process that jobletd starts, so
// that any of them can be ended without CAP_KILL and without a race. By itself jobletd makes a tree at the top of cgroup2 for all of
// them: `joblet`, or one named after the root. A service manager has a group for each service and decides about it, so that what is
// to outlive jobletd must not be in its group: there jobs have one of another unit (keeper.h), and only the daemons are in jobletd's.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
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

    // Jobs are in the existing group `jobs` (see cgroup_places.h), which no other jobletd uses and which must outlive this one: so it
    // does not lie in jobletd's own. The daemons are in `daemons` of that one. An error is a sentence with a hint.
    static std::expected<CgroupTree, std::string> make_within(const std::string& jobs);

    // Ends what an earlier jobletd left in it besides jobs: waits at most 5 s. Hold the lock.
    std::expected<void, std::string> end_leftovers();

    // O_PATH directory of jobs.
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
    CgroupTree(Fd tree, Fd jobs) : tree_(std::move(tree)), jobs_(std::move(jobs)) {}

    Fd tree_;
    Fd jobs_;                            // of make_within: locked while it is open
    std::optional<Caretaker> caretaker_; // of make
    Fd own_;                             // of make_within: jobletd's group, which the tree is in
    std::vector<Group> retired_;
    unsigned long last_number_ = 0;
};

} // namespace joblet::jobletd
