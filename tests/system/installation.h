// A whole installation below a root of its own, with the real daemons and the real rnx; nothing of it is left afterwards.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/system/process.h"

namespace joblet::testing {

using json = nlohmann::json;

inline constexpr uid_t kAlice = 20001; // two ordinary users, neither of which is in /etc/passwd
inline constexpr uid_t kBob = 20002;

// What the store (<root>/var/lib/joblet) lies on, if not on the file system of the root. Unenforced: usage of projects is
// counted, and limits are not held.
struct StoreMount {
    enum class Kind : std::uint8_t {
        None,
        Btrfs,
        BtrfsWithoutQuotas,
        XfsQuota,
        XfsWithoutQuota,
        XfsUnenforced,
        Ext4Quota,
        Ext4Unenforced,
        Tmpfs
    };
    Kind kind = Kind::None;
    // Of a tmpfs: "size=20M,nr_inodes=200". Of the others: the length of an image, "256M" (XFS wants 300M), or a disk, "/dev/vdb"
    std::string options;
};

class Installation {
  public:
    struct Options {
        std::string broker_toml; // none: defaults
        std::string api_toml;
        Words arguments; // of jobletd, besides --root
        // Where jobletd and the programs beside it are; empty: what was built
        std::string binaries;
        // Whether the daemons serve; none: when rnx is answered
        std::function<bool(const Installation&)> is_ready;
        StoreMount store;
        std::string jobs_on_tmpfs; // options of a tmpfs at /opt/joblet/jobs; empty: none
        std::string logs_on_tmpfs; // likewise at /var/log/joblet
    };
    // Starts jobletd and waits until it answers. Throws if it does not.
    Installation() : Installation(Options{}) {}
    explicit Installation(const Options& options);
    // Ends the daemons and what jobs are left, and removes the root. What could not be removed is a failed check.
    ~Installation();
    Installation(const Installation&) = delete;
    Installation& operator=(const Installation&) = delete;

    [[nodiscard]] const std::string& root() const {
        return root_;
    }
    [[nodiscard]] std::string socket() const {
        return root_ + "/run/joblet/api.sock";
    }
    [[nodiscard]] std::string state() const {
        return root_ + "/var/lib/joblet";
    }
    // Directory of this installation's groups in cgroup2.
    [[nodiscard]] std::string cgroup() const;
    [[nodiscard]] std::string log() const {
        return read_file(log_path());
    }

    // A command line of rnx for this installation.
    [[nodiscard]] Command rnx(Words words, uid_t uid = 0) const;
    Outcome run_rnx(Words words, uid_t uid = 0, milliseconds limit = seconds(30)) const {
        return run(rnx(std::move(words), uid), limit);
    }
    // stdout of a command that must succeed, parsed. Throws with its stderr otherwise.
    json json_of(Words words, uid_t uid = 0) const;
    void create(const std::string& name, const std::string& size = "1MiB", const std::string& type = "filesystem", uid_t uid = 0) const;
    // A job: `rnx run OPTIONS -- sh -c SCRIPT`.
    Outcome shell(Words options, const std::string& script, uid_t uid = 0, milliseconds limit = seconds(30)) const;
    [[nodiscard]] Command shell_command(Words options, const std::string& script, uid_t uid = 0) const;

    [[nodiscard]] pid_t jobletd() const {
        return jobletd_;
    }
    // Pids of children of jobletd by name, for example "joblet-worker".
    [[nodiscard]] std::vector<pid_t> daemons(std::string_view name) const;
    // The broker's, which closes for it.
    [[nodiscard]] pid_t closer() const;
    // Names of groups of jobs.
    [[nodiscard]] std::vector<std::string> job_groups() const;
    // Loop devices that hold a file of this installation: paths of the files.
    [[nodiscard]] std::vector<std::string> loops() const;
    // What SIGKILL to all daemons of this name does: waits until a request is answered again.
    void kill_daemons(std::string_view name) const;
    // Until a request is answered again. False if it is not, in time.
    [[nodiscard]] bool wait_ready(milliseconds limit = seconds(20)) const;

    // SIGTERM; exit code (128 + signal), or -1 if it had to be killed.
    int stop();
    void kill_jobletd();
    void start();

  private:
    [[nodiscard]] std::string log_path() const {
        return root_ + "/jobletd.log";
    }
    void end_jobs() const;
    void mount_store(const StoreMount& store);
    void mount_tmpfs(const std::string& directory, const std::string& options, unsigned mode);
    void unmount_all();

    std::vector<std::string> mounted_;
    std::string root_;
    Words arguments_;
    std::string jobletd_program_;
    std::function<bool(const Installation&)> is_ready_;
    pid_t jobletd_ = -1;
};

std::string binary(const std::string& name);

// Prints the ends of the logs of all installations there are: what a failed check says of its cause.
void print_logs();

// Files of a process's mounts, sorted: /proc/PID/mountinfo without the numbers that any mount anywhere changes.
std::vector<std::string> mounts_of(pid_t pid);

} // namespace joblet::testing
