#include "broker-root/jobletd/cgroup_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "broker-root/jobletd/cgroup_places.h"
#include "broker-root/jobletd/controllers.h"
#include "broker-root/kernel/cgroup.h"
#include "broker-root/kernel/mount.h"
#include "shared/log.h"

namespace joblet::jobletd {

namespace {

constexpr const char* kJobs = "jobs";
constexpr const char* kDaemons = "daemons";
constexpr int kLeftoverWaitMs = 5000;
constexpr int kLeftoverStepMs = 20;

// Two installations never share a tree: each root has a device and an inode of its own.
std::expected<std::string, std::string> tree_name(const std::string& root) {
    if (root.empty()) {
        return "joblet";
    }
    struct stat state{};
    if (::stat(root.c_str(), &state) != 0) {
        return std::unexpected(fmt::format("could not look at {}: {}", root, std::strerror(errno)));
    }
    return fmt::format("joblet-{:x}-{:x}", static_cast<unsigned long>(state.st_dev), static_cast<unsigned long>(state.st_ino));
}

std::expected<Fd, std::string> make_or_open(int parent, const char* name) {
    if (::mkdirat(parent, name, 0755) != 0 && errno != EEXIST) {
        return std::unexpected(fmt::format("could not make the group {} in cgroup2 ({}); it must be mounted for writing, and root must be "
                                           "allowed to make groups in it",
                                           name, std::strerror(errno)));
    }
    // Not across a mount: what is written below must be the kernel's cgroup2, as the top was seen to be
    auto group = kernel::open_beneath(parent, name, O_RDONLY | O_DIRECTORY);
    if (!group) {
        return std::unexpected(
            fmt::format("could not open the group {} in cgroup2 ({}); nothing may be mounted over it", name, std::strerror(group.error())));
    }
    return std::move(*group);
}

std::vector<std::string> groups_in(int directory) {
    std::vector<std::string> names;
    const int opened = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* const list = opened < 0 ? nullptr : ::fdopendir(opened);
    if (list == nullptr) {
        const Fd closed(opened);
        return names;
    }
    while (const dirent* const entry = ::readdir(list)) {
        const std::string_view name = &entry->d_name[0];
        if (entry->d_type == DT_DIR && name != "." && name != "..") {
            names.emplace_back(name);
        }
    }
    ::closedir(list);
    return names;
}

} // namespace

std::expected<CgroupTree, std::string> CgroupTree::make(const std::string& root, TopControllers top) {
    auto parent = find_cgroup2();
    if (!parent) {
        return std::unexpected(std::move(parent.error()));
    }
    auto name = tree_name(root);
    if (!name) {
        return std::unexpected(std::move(name.error()));
    }
    auto tree = make_or_open(parent->get(), name->c_str());
    if (!tree) {
        return std::unexpected(std::move(tree.error()));
    }
    auto jobs = make_or_open(tree->get(), kJobs);
    if (!jobs) {
        return std::unexpected(std::move(jobs.error()));
    }
    // From the top down: each has only what the one above hands on. Processes live in the groups of jobs and daemons, which are leaves,
    // and in none above them: there the kernel would refuse it.
    if (top == TopControllers::HandOn) {
        hand_on_controllers(parent->get(), "the top of cgroup2");
    } else {
        tell_missing_controllers(parent->get(), tree->get(), "start jobletd with --enable-controllers to have it do so");
    }
    hand_on_controllers(tree->get(), *name);
    hand_on_controllers(jobs->get(), fmt::format("{}/{}", *name, kJobs));
    Fd jobs_path(::openat(jobs->get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!jobs_path.valid()) {
        return std::unexpected(fmt::format("could not open the group of jobs: {}", std::strerror(errno)));
    }
    auto caretaker = Caretaker::start(parent->get(), *name);
    if (!caretaker) {
        return std::unexpected(std::move(caretaker.error()));
    }
    CgroupTree out(std::move(*tree), std::move(jobs_path));
    out.caretaker_ = std::move(*caretaker);
    return out;
}

std::expected<CgroupTree, std::string> CgroupTree::make_within(const std::string& jobs) {
    const auto top = find_cgroup2();
    if (!top) {
        return std::unexpected(top.error());
    }
    const auto own = own_group();
    if (!own) {
        return std::unexpected(own.error());
    }
    if (lies_in(jobs, *own)) {
        return std::unexpected(
            fmt::format("--jobs-cgroup {} lies in jobletd's own group, /{}, and jobs would be ended with it; give them a "
                        "group outside of it",
                        jobs, *own));
    }
    auto group = open_group(top->get(), jobs);
    if (!group) {
        return std::unexpected(
            fmt::format("could not open {} in cgroup2, where --jobs-cgroup says that jobs are: {}; the unit that keeps it "
                        "must be started first",
                        jobs, std::strerror(group.error())));
    }
    if (::flock(group->get(), LOCK_EX | LOCK_NB) != 0) {
        return std::unexpected(fmt::format("could not lock {} in cgroup2: {}", jobs,
                                           errno == EWOULDBLOCK ? "another jobletd has its jobs there" : std::strerror(errno)));
    }
    auto parent = open_group(top->get(), *own);
    if (!parent) {
        return std::unexpected(fmt::format("could not open jobletd's own group, /{}: {}", *own, std::strerror(parent.error())));
    }
    auto tree = make_or_open(parent->get(), kDaemons);
    if (!tree) {
        return std::unexpected(std::move(tree.error()));
    }
    tell_missing_controllers(top->get(), group->get(), "the unit that keeps the group of jobs must have them in its Delegate=");
    hand_on_controllers(group->get(), jobs);
    CgroupTree out(std::move(*tree), std::move(*group));
    out.own_ = std::move(*parent);
    return out;
}

std::expected<void, std::string> CgroupTree::end_leftovers() {
    for (auto& name : groups_in(tree_.get())) {
        if (name == kJobs) {
            continue;
        }
        auto directory = kernel::open_cgroup(tree_.get(), name.c_str());
        if (!directory) {
            return std::unexpected(fmt::format("could not open the group {}: {}", name, std::strerror(directory.error())));
        }
        Group group{std::move(name), std::move(*directory)};
        kill(group);
        retire(std::move(group));
    }
    for (int waited = 0; !remove_retired(); waited += kLeftoverStepMs) {
        if (waited >= kLeftoverWaitMs) {
            // Stuck in the kernel, on a disk that does not answer: it will not come back to do anything
            log::warning(fmt::format("{} processes of an earlier start cannot be ended", retired_.size()));
            break;
        }
        ::poll(nullptr, 0, kLeftoverStepMs);
    }
    return {};
}

std::expected<CgroupTree::Group, std::string> CgroupTree::make_group(const std::string& prefix) {
    for (;;) {
        std::string name = fmt::format("{}-{}", prefix, ++last_number_);
        auto directory = kernel::make_cgroup(tree_.get(), name.c_str());
        if (directory) {
            return Group{std::move(name), std::move(*directory)};
        }
        if (directory.error() != EEXIST) {
            return std::unexpected(fmt::format("could not make the group {}: {}", name, std::strerror(directory.error())));
        }
    }
}

void CgroupTree::kill(const Group& group) {
    if (const auto killed = kernel::kill_cgroup(group.directory.get()); !killed) {
        log::error(fmt::format("could not kill the group {}: {}", group.name, std::strerror(killed.error())));
    }
}

void CgroupTree::retire(Group group) {
    retired_.push_back(std::move(group));
    remove_retired();
}

bool CgroupTree::remove_retired() {
    std::erase_if(retired_, [this](const Group& group) { return kernel::remove_cgroup(tree_.get(), group.name.c_str()).has_value(); });
    return retired_.empty();
}

void CgroupTree::remove() {
    remove_retired();
    for (const auto& name : groups_in(jobs_.get())) {
        (void)kernel::remove_cgroup(jobs_.get(), name.c_str()); // EBUSY: the job is alive, and stays so
    }
    if (own_.valid()) {
        (void)kernel::remove_cgroup(own_.get(), kDaemons); // EBUSY: one is stuck in the kernel
    } else if (caretaker_ && kernel::remove_cgroup(tree_.get(), kJobs)) {
        caretaker_->remove_group();
    }
}

} // namespace joblet::jobletd
