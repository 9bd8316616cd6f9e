// Drives the real joblet-spawner as the broker does: templates, mounts and cgroups made here, orders over a socket.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "broker-root/spawner/launch.h"
#include "shared/fd.h"
#include "shared/job_spec.h"
#include "tests/log_reading.h"

namespace joblet::testing {

inline constexpr std::uint32_t kTestSlot = 0x7F000000; // far from where an installation on this machine begins

struct SpawnerAnswer {
    spawner::Answer answer;
    std::vector<Fd> descriptors;
};

// joblet-spawner, started as jobletd starts it; ends with this object.
class SpawnerProcess {
  public:
    // `leaked`: so many descriptors more than it should be given
    explicit SpawnerProcess(int leaked = 0);
    ~SpawnerProcess();
    SpawnerProcess(const SpawnerProcess&) = delete;
    SpawnerProcess& operator=(const SpawnerProcess&) = delete;

    // Sends the bytes and waits for the answer; nothing: the spawner has ended.
    std::optional<SpawnerAnswer> order(std::span<const std::byte> bytes, std::span<const int> descriptors = {});
    template <class Order> std::optional<SpawnerAnswer> order(const Order& order, std::span<const int> descriptors = {}) {
        return this->order(std::as_bytes(std::span(&order, 1)), descriptors);
    }
    void close_socket() {
        socket_.reset();
    }
    int wait_exit(); // status of waitpid
    void kill_now();
    [[nodiscard]] pid_t pid() const {
        return pid_;
    }

  private:
    pid_t pid_ = -1;
    Fd socket_;
};

// A directory of cgroup2 for one job, removed (its processes killed) at the end.
class TestCgroup {
  public:
    TestCgroup();
    ~TestCgroup();
    TestCgroup(const TestCgroup&) = delete;
    TestCgroup& operator=(const TestCgroup&) = delete;

    [[nodiscard]] int fd() const {
        return fd_.get();
    }
    void kill() const;
    [[nodiscard]] bool wait_empty() const;

  private:
    std::filesystem::path path_;
    Fd fd_;
};

// A mount namespace like a worker's template: this machine's /usr and /etc, the guest at /guest, places for mounts, and /data.
Fd make_template();

struct Slot {
    Fd job;    // J
    Fd volume; // V
};
Slot make_slot(SpawnerProcess& spawner);

struct TestVolume {
    std::string name;
    std::string target;
    Fd mount;
};

struct JobOptions {
    JobSpec spec{{"/guest/joblet-guest", "report"}, {"PATH=/guest:/usr/bin", "HOME=/work"}, "/work"};
    worker::JobKind kind = worker::JobKind::User;
    std::string host_name = "testhost";
    std::vector<TestVolume> volumes;
    bool hello = true;
    ControlHello hello_message{.magic = kHelloMagic}; // with three descriptors
    int hello_stdin = -1;                             // instead of the null device
    int template_fd = -1;                             // instead of a template
    int spec_fd = -1;                                 // instead of a sealed memfd made of `spec`
    bool terminal = false;                            // the hello asks for one
    std::uint16_t rows = 0;
    std::uint16_t columns = 0;
    int output_mode = -1;                              // of the pipe that is stdout and stderr, instead of what it is born with
    std::uint32_t flags = 0;                           // kLaunch…; with kLaunchDetached there is no hello
    std::uint64_t log_bytes = std::uint64_t{1} << 20U; // with kLaunchDetached
    int log_directory = -1;                            // where the log's files are made, instead of memory without a bound
    std::uint64_t timeout_ns = 0;
    std::uint32_t user = 0;
    std::uint32_t group = 0;
    bool read_only_work = false;
};

class TestJob {
  public:
    TestJob(SpawnerProcess& spawner, const Slot& slot, JobOptions options);

    void signal_as_rnx(int signal);
    void signal_as_broker(int signal);
    void hang_up() {
        control_.reset();
    }
    std::string read_line();   // of the job's output; empty at its end
    std::string read_output(); // to its end
    // The master of the job's terminal, as the stage sends it.
    Fd receive_terminal();
    [[nodiscard]] LogContent log() const {
        return read_log(log_files_[0].get(), log_files_[1].get());
    }
    // Waits until pid 1 says that the command runs. False: it did not within the time.
    bool runs(int timeout_ms = 5'000);
    // Waits for pid 1's end and reads all that it said. False: it did not end within the time.
    bool finish(int timeout_ms = 20'000);

    // After finish():
    std::optional<ExitRecord> in_file;
    std::optional<ExitRecord> to_broker;
    std::optional<ExitRecord> to_rnx;
    bool said_running = false;
    Fd mount_namespace;
    std::vector<spawner::StageReportType> reports;

    [[nodiscard]] pid_t stage_pid() const; // as this process sees it
    [[nodiscard]] const TestCgroup& cgroup() const {
        return cgroup_;
    }
    // The record, if it is the same on all three ways.
    [[nodiscard]] std::optional<ExitRecord> agreed() const;

  private:
    void read_reports();

    TestCgroup cgroup_;
    Fd pidfd_;
    Fd status_;
    Fd control_;
    Fd record_;
    Fd output_;
    std::array<Fd, 2> log_files_;
};

} // namespace joblet::testing
