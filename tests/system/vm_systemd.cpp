// The units of packaging/systemd, under the systemd that is process 1 of the VM.
#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <string>

#include <fmt/format.h>

#include "tests/system/systemd_service.h"
#include "tests/system/vm_parts.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("vm_systemd");

namespace {

namespace fs = std::filesystem;

// What a job is told to do that is to live until it is ended.
constexpr const char* kSleep = "sleep 3000";

// "0::/joblet.slice/…" of the first process in the job's group.
std::string cgroup_of(const std::string& pids) {
    const auto text = read_file("/proc/" + pids.substr(0, pids.find('\n')) + "/cgroup");
    const auto at = text.find("0::");
    return text.substr(at, text.find('\n', at) - at);
}

std::string main_pid() {
    return property(kService, "MainPID");
}

// The limits of a job that was started with kLimited, as the kernel has them.
const Words kLimited = {"--memory=64MiB", "--pids=30", "--cpus=0.5", "--write-bps=1MiB", "-v", "limited:/data"};
void check_limits(const SystemdService& here, const std::string& id) {
    CHECK(here.group_file(id, "memory.max") == std::to_string(64 * kMiB));
    CHECK(here.group_file(id, "memory.swap.max") == "0");
    CHECK(here.group_file(id, "pids.max") == "30");
    CHECK(here.group_file(id, "cpu.max") == "50000 100000");
    CHECK(here.group_file(id, "io.max").find("wbps=1048576") != std::string::npos);
}

bool runs(const SystemdService& here, const std::string& id) {
    const json job = here.job(id);
    return job["state"] == "running" && !here.pids(id).empty();
}

} // namespace

TEST_CASE("installed and started, it answers as soon as systemctl returns, and systemd finds nothing wrong with its units") {
    const SystemdService here;
    CHECK(here.run_rnx({"volume", "list"}, kAlice).status == 0); // the socket is everybody's by then
    CHECK(systemctl({"restart", kService}).status == 0);
    CHECK(here.run_rnx({"volume", "list"}, kAlice).status == 0);
    CHECK(property(kService, "UnitFileState") == "enabled");
    const fs::path units = "/usr/local/lib/systemd/system";
    const auto verified = run({{"/usr/bin/systemd-analyze", "verify", "--man=no", units / kService, units / kKeeper}}, seconds(60));
    CHECK(verified.status == 0);
    CHECK_MESSAGE(verified.err.find("joblet") == std::string::npos, verified.err);

    struct Row {
        const char* path;
        mode_t mode;
    };
    for (const auto& [path, mode] :
         {Row{"/etc/joblet", 0755}, Row{"/run/joblet", 0755}, Row{"/var/lib/joblet", 0711}, Row{"/var/log/joblet", 0750},
          Row{"/opt/joblet", 0755}, Row{"/opt/joblet/jobs", 0711}, Row{"/usr/local/libexec/joblet/jobletd", 0755}}) {
        CAPTURE(path);
        struct stat state{};
        REQUIRE(::stat(path, &state) == 0);
        CHECK(state.st_uid == 0);
        CHECK((state.st_mode & 07777) == mode);
    }
    // Written once, and what it asks for is there: jobs have their controllers
    CHECK(read_file("/etc/joblet/broker.toml").find("require_controllers = [\"io\", \"memory\", \"pids\"]\n") != std::string::npos);
    struct stat database{};
    REQUIRE(::stat("/var/lib/joblet/api", &database) == 0);
    CHECK(database.st_uid != 0);
    CHECK(read_file("/etc/passwd").find(fmt::format("joblet:x:{}:", database.st_uid)) != std::string::npos);
}

TEST_CASE("a job's group is outside of the service's, with its limits held; the daemons' are inside") {
    const SystemdService here;
    here.create("limited");
    const auto id = here.start_job(kLimited, kSleep);
    CHECK(cgroup_of(here.pids(id)) == "0::/joblet.slice/joblet-jobs.service/jobs/" + id);
    check_limits(here, id);
    std::size_t daemons = 0;
    for (const auto& entry : fs::directory_iterator(fs::path(kServiceGroup) / "daemons")) {
        if (entry.is_directory()) {
            CHECK_FALSE(read_file(entry.path() / "cgroup.procs").empty());
            ++daemons;
        }
    }
    CHECK(daemons == 7); // broker, API, spawner, four workers
    CHECK(read_file(std::string(kServiceGroup) + "/cgroup.procs") == main_pid() + "\n");
    // And they do hold: more memory than that is a job's end, and nobody else's
    const auto greedy = here.shell({"--memory=48MiB"}, "dd if=/dev/zero of=/dev/null bs=200M count=1; echo not reached");
    CHECK(greedy.status == 137);
    CHECK_MESSAGE(says(greedy, "want of memory"), greedy.err);
    CHECK(runs(here, id));
    CHECK(property(kKeeper, "ActiveState") == "active");
}

TEST_CASE("jobs run on while the daemons are restarted, are known to the new ones, and can be ended by them") {
    const SystemdService here;
    here.create("limited");
    here.create("data");
    const auto detached = here.start_job(kLimited, kSleep);
    const auto pids = here.pids(detached);
    Process attached(here.shell_command({"-v", "data:/data"}, "echo ready; while :; do sleep 0.2; done"));
    REQUIRE(attached.wait_for_output("ready"));
    const auto ending = here.start_job({}, "sleep 1; exit 5"); // while there may be no daemon
    const auto before = main_pid();

    const auto restarted = systemctl({"restart", kService});
    REQUIRE_MESSAGE(restarted.status == 0, restarted.err);
    CHECK(main_pid() != before);
    CHECK(runs(here, detached));
    CHECK(here.pids(detached) == pids);
    check_limits(here, detached);
    CHECK(here.json_of({"volume", "inspect", "limited"})["current_job_id"] == detached);
    CHECK(here.shell({"-v", "data"}, "true").status == 125);
    CHECK(here.run_rnx({"job", "wait", ending}).out == "5\n");

    // By way of its group, which the new daemons have as the old ones did
    REQUIRE(here.run_rnx({"job", "kill", detached}).status == 0);
    CHECK(here.run_rnx({"job", "wait", detached}).out == "137\n");
    std::string status;
    CHECK_MESSAGE(becomes_true([&] {
                      status = here.json_of({"volume", "inspect", "limited"})["status"];
                      return status == "available";
                  }),
                  status, journal());
    // And a job in the foreground needs no daemon for signals and exit status
    attached.signal(SIGTERM);
    CHECK(attached.wait().status == 143);
}

TEST_CASE("reloading and executing systemd anew leaves jobs and their controllers as they are") {
    const SystemdService here;
    here.create("limited");
    const auto id = here.start_job(kLimited, kSleep);
    const auto pids = here.pids(id);
    const auto controllers = read_file(std::string(kKeeperGroup) + "/cgroup.subtree_control");
    CHECK(controllers == "cpu io memory pids\n");
    for (const char* what : {"daemon-reload", "daemon-reexec"}) {
        CAPTURE(what);
        REQUIRE(systemctl({what}).status == 0);
        CHECK(read_file(std::string(kKeeperGroup) + "/cgroup.subtree_control") == controllers);
        CHECK(here.pids(id) == pids);
        check_limits(here, id);
        CHECK(runs(here, id));
        const auto next = here.start_job({"--pids=20"}, kSleep);
        CHECK(here.group_file(next, "pids.max") == "20");
    }
    // Also when the group of jobs has none for a while
    for (const json& job : here.json_of({"job", "list", "--state=running"})) {
        REQUIRE(here.run_rnx({"job", "stop", "--grace=0", job["id"]}).status == 0);
    }
    REQUIRE(systemctl({"daemon-reload"}).status == 0);
    CHECK(property(kKeeper, "ActiveState") == "active");
    const auto late = here.start_job(kLimited, kSleep);
    check_limits(here, late);
}

TEST_CASE("stopped, the service leaves nothing of its own, and jobs run on until it is started again") {
    const SystemdService here;
    here.create("limited");
    const auto id = here.start_job(kLimited, kSleep);
    const auto pids = here.pids(id);
    REQUIRE(systemctl({"stop", kService}).status == 0);
    CHECK_FALSE(fs::exists(kServiceGroup));
    CHECK_FALSE(fs::exists("/run/joblet/api.sock"));
    CHECK(property(kService, "Result") == "success");
    CHECK(here.pids(id) == pids);
    check_limits(here, id);
    CHECK(here.run_rnx({"job", "list"}).status == 1);
    REQUIRE(systemctl({"start", kService}).status == 0);
    CHECK(runs(here, id));
    CHECK(here.run_rnx({"job", "kill", id}).status == 0);
    CHECK(here.run_rnx({"job", "wait", id}).out == "137\n");
}

TEST_CASE("jobletd is started again when it is killed, and jobs run on") {
    const SystemdService here;
    here.create("limited");
    const auto id = here.start_job(kLimited, kSleep);
    const auto pids = here.pids(id);
    const auto before = main_pid();
    REQUIRE(::kill(std::stoi(before), SIGKILL) == 0);
    REQUIRE(
        becomes_true([&] { return property(kService, "NRestarts") == "1" && property(kService, "SubState") == "running"; }, seconds(30)));
    CHECK(main_pid() != before);
    CHECK(runs(here, id));
    CHECK(here.pids(id) == pids);
    check_limits(here, id);
    // Nothing of the one that was killed is left beside the new ones
    CHECK(run({{"/usr/bin/pgrep", "-c", "^joblet-broker$"}}).out == "1\n");
    CHECK(here.shell({}, "echo works").out == "works\n");
}

TEST_CASE("a wrong configuration is systemctl's failure, is not tried again, and costs no job") {
    const SystemdService here;
    const auto id = here.start_job({}, kSleep);
    const auto configuration = read_file("/etc/joblet/broker.toml");
    write_file("/etc/joblet/broker.toml", "[wrokers]\n");
    const auto failed = systemctl({"restart", kService});
    CHECK(failed.status == 1);
    CHECK_MESSAGE(failed.err.find("broker.toml:1: ") != std::string::npos, failed.err);
    CHECK(property(kService, "ActiveState") == "failed");
    CHECK(property(kService, "ExecMainStatus") == "78");
    CHECK_FALSE(here.pids(id).empty());
    write_file("/etc/joblet/broker.toml", configuration);
    REQUIRE(systemctl({"start", kService}).status == 0);
    CHECK(runs(here, id));
}

TEST_CASE("the unit of the jobs ends all of them when it is restarted, and the service comes back with it") {
    const SystemdService here;
    here.create("limited");
    const auto id = here.start_job(kLimited, kSleep);
    REQUIRE(systemctl({"restart", kKeeper}).status == 0);
    REQUIRE(becomes_true([] { return property(kService, "ActiveState") == "active"; }, seconds(30)));
    CHECK(here.pids(id).empty());
    CHECK(here.job(id)["state"] == "ended");
    CHECK(becomes_true([&] { return here.json_of({"volume", "inspect", "limited"})["status"] == "available"; }));
    const auto next = here.start_job(kLimited, kSleep);
    check_limits(here, next);
}

// What a job can tell about where it is, and what it may do there.
constexpr const char* kProbe = R"(
grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Groups)' /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj
sed 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]* [^ ]*\).* - \([^ ]*\) .*/\1 \2/' /proc/self/mountinfo | sort; grep -c shared: /proc/self/mountinfo
hostname; umask; ls -la /dev | sed 's/ [A-Z][a-z][a-z] .*:.. / /'; ls / /proc/sys /sys 2>&1
mkdir -p /data/d && chmod 2775 /data/d && stat -c %a /data/d
ip link show lo | head -1; ip route 2>&1; ulimit -c
(echo >/dev/null; head -c 1 /dev/urandom | wc -c; test -w /dev/tty; echo $?)
)";

TEST_CASE("a job sees and may do the same as without the sandbox of the units, and none of its mounts is the host's") {
    const auto probe = [](const auto& here, const char* base) {
        const auto outcome = run(here.shell_command({"--base", base, "--hostname=probe", "-v", "probe:/data"}, kProbe));
        REQUIRE_MESSAGE(outcome.status == 0, outcome.err);
        return outcome.out;
    };
    const auto own = mounts_of(::getpid());
    const auto first = mounts_of(1);
    std::map<std::string, std::string> with;
    {
        const SystemdService here;
        here.create("probe");
        for (const char* base : {"minimal", "host"}) {
            with[base] = probe(here, base);
        }
        CHECK(mounts_of(1) == first);
        for (const auto& mount : mounts_of(std::stoi(main_pid()))) {
            CHECK_MESSAGE(mount.find("/bases/") == std::string::npos, mount);
        }
    }
    const Installation here(vm_options(StoreMount::Kind::None));
    here.create("probe", "2MiB");
    for (const char* base : {"minimal", "host"}) {
        CAPTURE(base);
        CHECK(probe(here, base) == with[base]);
    }
    // Here nothing is between the daemons and the host's mounts, which are shared
    CHECK(mounts_of(::getpid()) == own);
}

TEST_SUITE_END();

} // namespace joblet::testing
