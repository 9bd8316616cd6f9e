#include "broker-root/jobletd/cgroup_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "broker-root/jobletd/controllers.h"
#include "broker-root/kernel/cgroup.h"
#include "broker-root/kernel/mount.h"
#include "shared/log.h"

namespace joblet::jobletd {

namespace {

constexpr const char* kJobs = "jobs";
constexpr int kLeftoverWaitMs = 5000;
constexpr int kLeftoverStepMs = 20;

std::expected<Fd, std::string> find_cgroup2() {
    for (const char* const path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
        Fd directory(::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        struct statfs state{};
        if (directory.valid() && ::fstatfs(directory.get(), &state) == 0 && state.f_type == CGROUP2_SUPER_MAGIC) {
            return directory;
        }
    }
    return std::unexpected("there is no cgroup2 at /sys/fs/cgroup or /sys/fs/cgroup/unified, which holds jobs together; make it with: "
                           "mount -t cgroup2 none /sys/fs/cgroup");
}

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

CgroupTree::CgroupTree(Fd tree, Fd jobs, Caretaker caretaker)
    : tree_(std::move(tree)), jobs_(std::move(jobs)), caretaker_(std::move(caretaker)) {}

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
        tell_missing_controllers(parent->get(), tree->get());
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
    return CgroupTree(std::move(*tree), std::move(jobs_path), std::move(*caretaker));
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
    if (kernel::remove_cgroup(tree_.get(), kJobs)) {
        caretaker_.remove_group();
    }
}

} // namespace joblet::jobletd
