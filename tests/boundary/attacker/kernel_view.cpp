#include "tests/boundary/attacker/kernel_view.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <linux/quota.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>
#include <thread>

#include <fmt/format.h>

#include "broker-root/worker/record.h"
#include "shared/fd.h"
#include "tests/boundary/attacker/mount_table.h"
#include "tests/system/vm_parts.h"

namespace joblet::testing {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMemoryGrowthKib = std::size_t{48} << 10U; // of a daemon, whatever is asked of it
constexpr std::size_t kDescriptorsOfChannel = 2;                 // the job's end of the control socket, memory for the command
constexpr std::size_t kDescriptorsOfJob = 4;                     // the broker's: pidfd, status socket, group, its events
constexpr std::size_t kStoredOfJob = 2;                          // jobletd's: the first two of these
constexpr std::size_t kTemplatesMax = 64;                        // of each worker
constexpr std::array kDaemons = {"jobletd-cgroup", "joblet-broker", "joblet-worker", "joblet-spawner"};

std::string link_of(const fs::path& path) {
    std::array<char, PATH_MAX> out{};
    const ssize_t size = ::readlink(path.c_str(), out.data(), out.size());
    return size > 0 ? std::string(out.data(), static_cast<std::size_t>(size)) : std::string();
}

struct Descriptors {
    std::size_t others = 0;
    std::size_t mount_namespaces = 0;
    std::size_t user_namespaces = 0;
};
Descriptors descriptors_of(pid_t pid) {
    Descriptors out;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid), error)) {
        const auto link = link_of(entry.path());
        if (link.starts_with("mnt:[")) {
            ++out.mount_namespaces;
        } else if (link.starts_with("user:[")) {
            ++out.user_namespaces;
        } else {
            ++out.others;
        }
    }
    return out;
}

std::size_t anonymous_kib(pid_t pid) {
    std::istringstream text(read_file(fmt::format("/proc/{}/status", pid)));
    for (std::string line; std::getline(text, line);) {
        if (line.starts_with("RssAnon:")) {
            return std::stoul(line.substr(std::strlen("RssAnon:")));
        }
    }
    return 0;
}

std::set<std::string> names_in(const std::string& directory) {
    std::set<std::string> out;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory, error)) {
        out.insert(entry.path().filename());
    }
    return out;
}

// All rows of projects that have anything, but for those of files without a project. As quotactl_fd(2) says.
std::vector<if_nextdqblk> quota_rows(const std::string& store) {
    std::vector<if_nextdqblk> out;
    const Fd directory(::open(store.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (std::uint32_t from = 1; from != 0;) {
        if_nextdqblk row{};
        if (::syscall(SYS_quotactl_fd, directory.get(), QCMD(Q_GETNEXTQUOTA, PRJQUOTA), from, &row) != 0) {
            REQUIRE_MESSAGE(errno == ENOENT, std::strerror(errno)); // no more
            break;
        }
        if (row.dqb_bhardlimit != 0 || row.dqb_bsoftlimit != 0 || row.dqb_ihardlimit != 0 || row.dqb_isoftlimit != 0 ||
            row.dqb_curspace != 0 || row.dqb_curinodes != 0) {
            out.push_back(row);
        }
        from = row.dqb_id + 1;
    }
    return out;
}

void compare_sets(const char* what, const std::set<std::string>& there, const std::set<std::string>& expected,
                  std::vector<std::string>& out) {
    for (const auto& one : there) {
        if (!expected.contains(one)) {
            out.push_back(fmt::format("{}: there is {}, which should not be", what, one));
        }
    }
    for (const auto& one : expected) {
        if (!there.contains(one)) {
            out.push_back(fmt::format("{}: {} is missing", what, one));
        }
    }
}

} // namespace

bool has_quota_store() {
    const char* const store = std::getenv("JOBLET_TEST_STORE"); // NOLINT(concurrency-mt-unsafe): nobody sets it
    return store != nullptr && std::string_view(store) != "none";
}

bool KernelView::daemons_are_ready(const Installation& here) {
    for (const char* const name : kDaemons) {
        const auto pids = here.daemons(name);
        const auto is_ready = [](pid_t pid) {
            return read_file(fmt::format("/proc/{}/status", pid)).find("\nSeccomp:\t2\n") != std::string::npos;
        };
        if (pids.empty() || !std::ranges::all_of(pids, is_ready)) {
            return false;
        }
    }
    return true;
}

KernelView::KernelView(const Installation& here) : here_(here), host_namespace_(link_of("/proc/self/ns/mnt")) {
    // What one of them is just closing is not there for long
    (void)becomes_true([this] {
        const auto first = look_at_daemons();
        std::this_thread::sleep_for(milliseconds(100));
        before_ = look_at_daemons();
        return std::ranges::equal(first, before_, {}, &Daemon::descriptors, &Daemon::descriptors);
    });
}

std::vector<KernelView::Daemon> KernelView::look_at_daemons() const {
    std::vector<Daemon> out;
    const auto add = [&out](pid_t pid, const std::string& name) {
        out.push_back({pid, name, descriptors_of(pid).others, anonymous_kib(pid), mounts_of(pid)});
    };
    add(here_.jobletd(), "jobletd");
    for (const char* const name : kDaemons) {
        for (const pid_t pid : here_.daemons(name)) {
            add(pid, name);
        }
    }
    return out;
}

std::string KernelView::resources() const {
    std::string out;
    for (const auto& daemon : before_) {
        const auto now = descriptors_of(daemon.pid);
        out += fmt::format("{} {}: {} descriptors (then {}) and {}+{} namespaces, {} KiB (then {})\n", daemon.name, daemon.pid, now.others,
                           daemon.descriptors, now.mount_namespaces, now.user_namespaces, anonymous_kib(daemon.pid), daemon.memory_kib);
    }
    return out;
}

void KernelView::compare_daemons(const Model& model, const BrokerHolds& held, std::vector<std::string>& out) const {
    for (const auto& daemon : before_) {
        const auto complain = [&](const std::string& what) { out.push_back(fmt::format("{} {} {}", daemon.name, daemon.pid, what)); };
        auto name = read_file(fmt::format("/proc/{}/comm", daemon.pid));
        if (name != daemon.name + "\n") {
            complain("is gone");
            continue;
        }
        const std::size_t alive = model.alive();
        const bool is_broker = daemon.name == "joblet-broker";
        const std::size_t expected =
            daemon.descriptors + (is_broker ? held.connections + held.channels * kDescriptorsOfChannel + alive * kDescriptorsOfJob : 0) +
            (daemon.name == "jobletd" ? alive * kStoredOfJob : 0);
        const auto now = descriptors_of(daemon.pid);
        if (now.others != expected) {
            complain(fmt::format("has {} descriptors, expected are {}", now.others, expected));
        }
        if (const std::size_t most = daemon.name == "joblet-worker" ? kTemplatesMax + 1 : alive; now.mount_namespaces > most) {
            complain(fmt::format("has {} mount namespaces, expected are at most {}", now.mount_namespaces, most));
        }
        const auto memory = anonymous_kib(daemon.pid);
        if (memory > daemon.memory_kib + kMemoryGrowthKib) {
            complain(fmt::format("has grown from {} KiB to {} KiB", daemon.memory_kib, memory));
        }
        // jobletd and the broker are in the host's, which others change: that nothing of ours is there is looked at below
        if (link_of(fmt::format("/proc/{}/ns/mnt", daemon.pid)) != host_namespace_ && mounts_of(daemon.pid) != daemon.mounts) {
            complain("has other mounts than when it began");
        }
    }
}

void KernelView::compare_store(const Model& model, std::vector<std::string>& out) const {
    std::set<std::string> volumes;
    std::set<std::string> trash;
    for (const auto& [id, volume] : model.volumes()) {
        (volume.trashed ? trash : volumes).insert(to_string(id));
        const std::string directory = fmt::format("{}/{}/{}", here_.state(), volume.trashed ? "trash" : "volumes", to_string(id));
        const std::string bytes = read_file(directory + "/record");
        const auto record = worker::read_volume_record(std::as_bytes(std::span(bytes)), id);
        const auto complain = [&](const char* what) { out.push_back(fmt::format("volume {} on disk: {}", to_string(id), what)); };
        if (!record) {
            complain("no record that can be read");
            continue;
        }
        if (record->owner_uid != volume.owner || record->name.view() != volume.name || record->type != volume.type ||
            record->size_bytes != volume.size_bytes || (record->flags == protocol::kVolumeProtected) != volume.is_protected) {
            complain("its record says something else");
        }
        std::set<std::string> files = {"record"};
        if (record->backend == protocol::Backend::Image) {
            files.insert("image");
        } else if (record->backend == protocol::Backend::ProjectQuota) {
            files.insert("project");
        }
        if (has_quota_store() && volume.type == protocol::VolumeType::Filesystem && record->backend != protocol::Backend::ProjectQuota) {
            complain("it has no quota, where there are some");
        }
        auto there = names_in(directory);
        there.erase("labels"); // there when there are any
        compare_sets("a volume's directory", there, files, out);
    }
    compare_sets("volumes", names_in(here_.state() + "/volumes"), volumes, out);
    compare_sets("trash", names_in(here_.state() + "/trash"), trash, out);
    compare_sets("staging", names_in(here_.state() + "/staging"), {}, out);
    std::set<std::string> alive;
    std::set<std::string> outliving;
    for (const auto& [id, job] : model.jobs()) {
        if (!job.ended) {
            alive.insert(to_string(id));
        }
        if (!job.ended || job.has_log) {
            outliving.insert(to_string(id));
        }
    }
    compare_sets("records of running jobs", names_in(here_.root() + "/run/joblet/jobs"), alive, out);
    compare_sets("what outlives jobs", names_in(here_.root() + "/opt/joblet/jobs"), outliving, out);
}

void KernelView::compare_groups(const Model& model, std::vector<std::string>& out) const {
    std::set<std::string> alive;
    for (const auto& [id, job] : model.jobs()) {
        if (!job.ended) {
            alive.insert(to_string(id));
        }
    }
    const auto groups = here_.job_groups();
    compare_sets("groups of jobs", {groups.begin(), groups.end()}, alive, out);
}

// Each volume that is there, in the trash or not, has a row with its size for a limit; nothing else has one.
void KernelView::compare_quotas(const Model& model, std::vector<std::string>& out) const {
    std::map<std::uint32_t, const ModelVolume*> expected;
    for (const auto& [id, volume] : model.volumes()) {
        const std::string bytes =
            read_file(fmt::format("{}/{}/{}/record", here_.state(), volume.trashed ? "trash" : "volumes", to_string(id)));
        const auto record = worker::read_volume_record(std::as_bytes(std::span(bytes)), id);
        if (record && record->backend == protocol::Backend::ProjectQuota && !expected.emplace(record->project_id, &volume).second) {
            out.push_back(fmt::format("quotas: project {} is that of two volumes", record->project_id));
        }
    }
    for (const auto& row : quota_rows(here_.state())) {
        const auto found = expected.find(row.dqb_id);
        if (found == expected.end()) {
            out.push_back(
                fmt::format("quotas: project {} has {} bytes of {} KiB, and no volume", row.dqb_id, row.dqb_curspace, row.dqb_bhardlimit));
            continue;
        }
        const std::uint64_t limit = row.dqb_bhardlimit * 1024;
        if (!is_about(limit, found->second->size_bytes)) {
            out.push_back(
                fmt::format("quotas: the limit of project {} is {}, of a volume of {}", row.dqb_id, limit, found->second->size_bytes));
        }
        expected.erase(found);
    }
    for (const auto& [project, volume] : expected) {
        out.push_back(fmt::format("quotas: project {}, of volume {}, is without a limit", project, volume->name));
    }
}

std::map<std::string, std::string> KernelView::loops() const {
    std::map<std::string, std::string> out;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/sys/block", error)) {
        const auto file = read_file(entry.path() / "loop/backing_file");
        const auto at = file.find("/volumes/");
        if (at == std::string::npos) {
            continue;
        }
        const std::string id = file.substr(at + std::strlen("/volumes/"), kIdHexLength);
        if (parse_id<VolumeId>(id) && (fs::exists(here_.state() + "/volumes/" + id) || fs::exists(here_.state() + "/trash/" + id))) {
            out.emplace("/dev/" + entry.path().filename().string(), id);
        }
    }
    return out;
}

void KernelView::compare_loops(const Model& model, std::vector<std::string>& out) const {
    std::set<std::string> expected;
    for (const auto& [id, volume] : model.volumes()) {
        if (!model.holders(id).empty() && fs::exists(here_.state() + "/volumes/" + to_string(id) + "/image")) {
            expected.insert(to_string(id));
        }
    }
    std::set<std::string> there;
    for (const auto& [device, id] : loops()) {
        there.insert(id);
    }
    compare_sets("loop devices", there, expected, out);
}

void KernelView::compare_mounts(const Model& model, std::vector<std::string>& out) const {
    const auto devices = loops();
    std::map<std::string, JobId> jobs; // namespace to the job that lives in it
    for (const auto& [id, job] : model.jobs()) {
        std::istringstream pids(job.ended ? "" : read_file(fmt::format("{}/jobs/{}/cgroup.procs", here_.cgroup(), to_string(id))));
        for (pid_t pid = 0; pids >> pid;) {
            const auto link = link_of(fmt::format("/proc/{}/ns/mnt", pid));
            if (link == host_namespace_) {
                out.push_back(fmt::format("process {} of job {} is in the host's mount namespace", pid, to_string(id)));
            } else if (!link.empty()) {
                jobs.emplace(link, id);
            }
        }
    }
    std::set<std::string> ours;
    for (const auto& daemon : before_) {
        ours.insert(link_of(fmt::format("/proc/{}/ns/mnt", daemon.pid)));
    }
    std::set<std::string> seen;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/proc", error)) {
        const std::string pid = entry.path().filename();
        if (!std::ranges::all_of(pid, [](char c) { return c >= '0' && c <= '9'; })) {
            continue;
        }
        const auto link = link_of(entry.path() / "ns/mnt");
        if (link.empty() || !seen.insert(link).second) {
            continue;
        }
        const auto mounts = mount_table(read_file(entry.path() / "mountinfo"));
        if (const auto job = jobs.find(link); job != jobs.end()) {
            compare_job_mounts(model, job->second, mounts, devices, out);
            continue;
        }
        if (ours.contains(link) && link != host_namespace_) {
            continue; // compared with its own beginning
        }
        for (const auto& mount : mounts) {
            if (has_quota_store() && mount.where == here_.state() && mount.root == "/") {
                continue; // what the store lies on
            }
            if (devices.contains(mount.source) || mount.root.starts_with(here_.root()) || mount.where.starts_with(here_.root())) {
                out.push_back(fmt::format("process {} has a mount of ours that it should not have: {}", pid, mount.line));
            }
        }
    }
}

std::vector<std::string> KernelView::differences(const Model& model, const BrokerHolds& held) const {
    std::vector<std::string> out;
    compare_daemons(model, held, out);
    compare_store(model, out);
    compare_groups(model, out);
    if (has_quota_store()) {
        compare_quotas(model, out);
    }
    compare_loops(model, out);
    compare_mounts(model, out);
    return out;
}

} // namespace joblet::testing
