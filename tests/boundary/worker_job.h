// A process that has the volumes of a job where a job has them.
#pragma once

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <set>
#include <sstream>

#include "broker-root/worker/job_files.h"
#include "tests/boundary/worker_world.h"

namespace joblet::testing {

enum class OwnedBy : std::uint8_t { Host, UserNamespace };

// A process where the stage leaves a job: in its copy of the template, with the volumes mounted. What it was prepared with is
// closed; it alone holds its mounts.
class RunningJob {
  public:
    RunningJob(const worker::PrepareJob& order, WorkerProcess::Reply reply, OwnedBy owned_by) {
        std::array<int, 2> ready{};
        REQUIRE(::pipe2(ready.data(), O_CLOEXEC) == 0);
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            const char good = become(order, reply, owned_by) ? 1 : 0;
            reply.descriptors.clear();
            (void)!::write(ready[1], &good, 1);
            ::pause();
            ::_exit(0);
        }
        char good = 0;
        const ssize_t got = ::read(ready[0], &good, 1);
        ::close(ready[0]);
        ::close(ready[1]);
        reply.descriptors.clear();
        REQUIRE(got == 1);
        REQUIRE(good == 1);
    }
    ~RunningJob() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    RunningJob(const RunningJob&) = delete;
    RunningJob& operator=(const RunningJob&) = delete;

    [[nodiscard]] Fd mount_namespace() const {
        return Fd(::open((proc() / "ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
    }
    [[nodiscard]] Fd open(const std::string& path) const {
        return Fd(::open((proc() / "root" / path).c_str(), O_PATH | O_CLOEXEC));
    }
    [[nodiscard]] bool has(const std::string& path) const {
        return open(path).valid();
    }
    // Mounts at that path, one upon the other.
    [[nodiscard]] std::size_t mounts_at(const std::string& path) const {
        const std::string all = read_text(proc() / "mountinfo");
        std::size_t count = 0;
        for (auto at = all.find(" " + path + " "); at != std::string::npos; at = all.find(" " + path + " ", at + 1)) {
            ++count;
        }
        return count;
    }

    // All of its mounts, seen at one time, except those at these places.
    [[nodiscard]] std::size_t mounts_but_at(const std::set<std::string>& places) const {
        std::istringstream all(read_text(proc() / "mountinfo"));
        std::size_t count = 0;
        for (std::string line; std::getline(all, line);) {
            std::istringstream words(line);
            std::string id;
            std::string parent;
            std::string device;
            std::string root;
            std::string place;
            words >> id >> parent >> device >> root >> place;
            count += places.contains(place) ? 0 : 1;
        }
        return count;
    }

    // Its line of mountinfo.
    [[nodiscard]] std::string mount_line(const std::string& path) const {
        const std::string all = read_text(proc() / "mountinfo");
        const auto at = all.find(" " + path + " ");
        return at == std::string::npos ? "" : line_of(all.substr(at), path);
    }

  private:
    [[nodiscard]] fs::path proc() const {
        return "/proc/" + std::to_string(pid_);
    }
    static bool become(const worker::PrepareJob& order, const WorkerProcess::Reply& reply, OwnedBy owned_by) {
        const auto& given = reply.descriptors;
        const auto move_to = [](const Fd& mount, const std::string& path) {
            return ::move_mount(mount.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0;
        };
        bool good = ::setns(given[worker::kTemplate].get(), CLONE_NEWNS) == 0 &&
                    ::unshare(CLONE_NEWNS | (owned_by == OwnedBy::UserNamespace ? CLONE_NEWUSER : 0)) == 0 &&
                    move_to(given[worker::kVolumesMount], "/volumes");
        const std::size_t logs = (order.record.flags & worker::kJobHasLog) != 0 ? worker::kLogFiles.size() : 0;
        for (std::size_t i = 0; i < order.volume_count; ++i) {
            const auto& volume = order.volumes[i];
            const std::string path = "/volumes/" + volume.name.string();
            good = good && move_to(given[worker::kPreparedFixed + logs + i], path);
            if (!volume.target.empty()) {
                good = good && ::syscall(SYS_mount, path.c_str(), volume.target.string().c_str(), nullptr, MS_BIND, nullptr) == 0;
            }
        }
        return good;
    }

    pid_t pid_ = -1;
};

} // namespace joblet::testing
