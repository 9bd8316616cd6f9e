// What holds the daemons and jobs while they run, seen from outside: the filters in the kernel, what comes of a call off the table,
// capabilities in every state, and who may look into their memory.
#include <doctest/doctest.h>

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "tests/system/installation.h"
#include "tests/system/members.h"
#include "tests/system/tracee.h"
#include "tests/tables/process_tables.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("confinement");

namespace {

std::vector<pid_t> threads_of(pid_t pid) {
    std::vector<pid_t> out;
    for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
        out.push_back(std::stoi(entry.path().filename()));
    }
    return out;
}

// A foreground job and a detached one, both alive until they are told.
struct TwoJobs {
    explicit TwoJobs(const Installation& installation) : here(installation) {
        here.create("shared");
        foreground.emplace(here.shell_command({"-v", "shared:/data"}, "echo ready; exec sleep 600"));
        REQUIRE(foreground->wait_for_output("ready"));
        const auto started = here.run_rnx({"run", "-d", "--", "sh", "-c", "echo said; sleep 600"});
        REQUIRE(started.status == 0);
        detached = started.out.substr(0, started.out.find('\n'));
    }
    ~TwoJobs() {
        foreground->signal(SIGTERM);
        (void)foreground->wait();
        (void)here.run_rnx({"job", "kill", detached});
        (void)here.run_rnx({"job", "wait", detached});
    }
    TwoJobs(const TwoJobs&) = delete;
    TwoJobs& operator=(const TwoJobs&) = delete;

    const Installation& here;
    std::optional<Process> foreground;
    std::string detached;
};

std::vector<Member> finished_members(const Installation& here) {
    std::vector<Member> out;
    REQUIRE(becomes_true([&] {
        out = members_of(here);
        return std::ranges::none_of(out, [](const Member& one) { return one.process.empty(); });
    }));
    return out;
}

std::size_t count(const std::vector<Member>& members, std::string_view process) {
    return static_cast<std::size_t>(std::ranges::count(members, process, &Member::process));
}

unsigned long long bits(const std::vector<int>& capabilities) {
    unsigned long long all = 0;
    for (const int capability : capabilities) {
        all |= 1ULL << static_cast<unsigned>(capability);
    }
    return all;
}

unsigned long long field(const Member& member, const char* set) {
    return std::stoull(member.status.at(set), nullptr, 16);
}

enum class SystemJobs : std::uint8_t { MayRun, AreOver };

// "": as the table has it. The command of a system job (mkfs and the like) has what its kind may do with its own files.
std::string difference(const Member& member, bool can_grow, SystemJobs system_jobs) {
    const auto& row = *std::ranges::find(process_capabilities(), member.process, &ProcessCapabilities::process);
    auto effective = bits(row.effective);
    auto permitted = effective | (can_grow ? bits(row.on_demand) : 0);
    unsigned long long inheritable = 0;
    if (member.process == "job" && system_jobs == SystemJobs::MayRun && field(member, "CapEff") != 0) {
        effective = permitted = inheritable = bits({CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER});
    }
    std::string all;
    const auto compare = [&](const char* set, unsigned long long expected) {
        if (field(member, set) != expected) {
            all += fmt::format("{} ({}) has {} {:x} and not {:x}; ", member.process, member.pid, set, field(member, set), expected);
        }
    };
    compare("CapPrm", permitted);
    compare("CapInh", inheritable);
    compare("CapAmb", inheritable);
    if (row.is_bounded) {
        compare("CapBnd", member.process == "jobletd-cgroup" ? 0 : permitted); // it executes nothing
    }
    // A worker takes up what it has on demand for one call, and is seen with it or without
    if (field(member, "CapEff") != permitted) {
        compare("CapEff", effective);
    }
    if (member.status.at("NoNewPrivs") != "1") {
        all += fmt::format("{} ({}) can gain privileges; ", member.process, member.pid);
    }
    if (member.process != "joblet-api" && member.process != "job" && member.status.at("Threads") != "1") {
        all += fmt::format("{} ({}) has {} threads; ", member.process, member.pid, member.status.at("Threads"));
    }
    return all;
}

// Whether this machine's root may have what lets a worker grow a volume that is attached.
bool machine_can_grow() {
    const auto own = std::stoull(status_of(::getpid())["CapBnd"], nullptr, 16);
    const auto wanted = bits({CAP_SYS_RESOURCE, CAP_DAC_READ_SEARCH});
    return (own & wanted) == wanted;
}

struct Sightings {
    std::set<std::string> differences;
    std::map<std::string, std::size_t> processes;
};

// Looks at all processes over and over while something is done with them. jobletd must be the same all the time.
class Watch {
  public:
    Watch(const Installation& here, Sightings& sightings)
        : here_(here), sightings_(sightings), thread_([this](const std::stop_token& stop) { watch(stop); }) {}

  private:
    void watch(const std::stop_token& stop) {
        const bool can_grow = machine_can_grow();
        while (!stop.stop_requested()) {
            for (const auto& member : members_of(here_)) {
                if (!member.process.empty()) {
                    ++sightings_.processes[member.process];
                    if (auto found = difference(member, can_grow, SystemJobs::MayRun); !found.empty()) {
                        sightings_.differences.insert(std::move(found));
                    }
                }
            }
            std::this_thread::sleep_for(milliseconds(2));
        }
    }

    const Installation& here_;
    Sightings& sightings_;
    std::jthread thread_; // last
};

void lose_trace_capability() {
    ::prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0);
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    ::syscall(SYS_capget, &header, data.data());
    constexpr std::uint32_t kTrace = 1U << CAP_SYS_PTRACE;
    data[0].effective &= ~kTrace;
    data[0].permitted &= ~kTrace;
    ::syscall(SYS_capset, &header, data.data());
}

// root without SYS_PTRACE, or another user: what /proc lets it do with a process depends on whether that is dumpable.
bool can_look_into(pid_t pid, uid_t uid) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        lose_trace_capability();
        if (uid != 0 && (::setresgid(uid, uid, uid) != 0 || ::setresuid(uid, uid, uid) != 0)) {
            ::_exit(99);
        }
        std::array<char, 200> target{};
        ::_exit(::readlink(fmt::format("/proc/{}/exe", pid).c_str(), target.data(), target.size()) > 0 ? 1 : 0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFEXITED(status));
    REQUIRE(WEXITSTATUS(status) <= 1);
    return WEXITSTATUS(status) == 1;
}

} // namespace

TEST_CASE("the filters in the kernel of every daemon, first process and job are those of the tables, and no other") {
    const Installation here;
    const TwoJobs jobs(here);
    const auto members = finished_members(here);
    CHECK(count(members, "jobletd") == 1);
    CHECK(count(members, "joblet-broker") == 1);
    CHECK(count(members, "joblet-worker") == 4);
    CHECK(count(members, "joblet-spawner") == 1);
    CHECK(count(members, "joblet-api") == 1);
    CHECK(count(members, "pid 1 of a job") == 2);
    CHECK(count(members, "job") >= 2);
    for (const auto& member : members) {
        CAPTURE(member.process);
        const auto& table = table_of(member.process);
        std::vector<FilterProgram> expected;
        expected.reserve(table.inherited.size() + 1);
        for (const auto name : table.inherited) {
            expected.push_back(compiled(table_of(name)));
        }
        expected.push_back(compiled(table));
        for (const pid_t thread : threads_of(member.pid)) {
            const auto found = Tracee(thread).filters();
            REQUIRE(found.size() == expected.size());
            for (std::size_t i = 0; i < found.size(); ++i) {
                CAPTURE(i);
                CHECK(found[i].instructions == expected[i].instructions);
            }
        }
    }
    CHECK(here.run_rnx({"volume", "list"}).status == 0);
}

TEST_CASE("a forbidden call ends a broker, worker, API and first process with SIGSYS at once, in each of their threads, and all goes on") {
    const Installation here;
    here.create("data");
    for (const char* daemon : {"joblet-broker", "joblet-worker", "joblet-api"}) {
        for (std::size_t thread = 0; thread < threads_of(here.daemons(daemon).front()).size(); ++thread) {
            CAPTURE(daemon);
            CAPTURE(thread);
            // A worker that dies while it has a volume in its hands leaves it in quarantine
            REQUIRE(becomes_true([&here] {
                return here.job_groups().empty() && here.json_of({"volume", "inspect", "data"})["status"] == "available" &&
                       here.loops().empty();
            }));
            const pid_t victim = here.daemons(daemon).front();
            const auto end = Tracee(threads_of(victim).at(thread)).make_call(SYS_mount);
            CHECK(end.died);
            CHECK(end.signal == SIGSYS);
            REQUIRE(becomes_true([&] {
                const auto now = here.daemons(daemon);
                return !now.empty() && std::ranges::find(now, victim) == now.end();
            }));
            REQUIRE(here.wait_ready());
            const auto next = here.shell({"-v", "data:/data"}, "true");
            CHECK_MESSAGE(next.status == 0, next.err);
        }
    }
    CHECK(here.log().find("signal 31") != std::string::npos);

    Process job(here.shell_command({}, "echo ready; exec sleep 600"));
    REQUIRE(job.wait_for_output("ready"));
    const auto members = finished_members(here);
    const auto init = std::ranges::find(members, "pid 1 of a job", &Member::process);
    REQUIRE(init != members.end());
    const auto end = Tracee(init->pid).make_call(SYS_execve);
    CHECK(end.died);
    CHECK(end.signal == SIGSYS);
    CHECK(job.wait().status == 137); // its command dies with it, killed
}

TEST_CASE("a call that jobletd, the spawner and a job do not have fails with EPERM, clone3 of a job with ENOSYS, and they go on") {
    const Installation here;
    Process job(here.shell_command({}, "echo ready; exec sleep 600"));
    REQUIRE(job.wait_for_output("ready"));
    for (const auto& member : finished_members(here)) {
        if (table_of(member.process).others != OtherCalls::FailWithEPERM) {
            continue;
        }
        CAPTURE(member.process);
        for (const int number : {SYS_mount, SYS_ptrace, SYS_bpf, SYS_io_uring_setup, SYS_add_key, SYS_userfaultfd, 599}) {
            CAPTURE(number);
            const auto end = Tracee(member.pid).make_call(number);
            CHECK_FALSE(end.died);
            CHECK(end.result == -EPERM);
        }
        if (member.process == "job") {
            CHECK(Tracee(member.pid).make_call(SYS_clone3).result == -ENOSYS);
            CHECK(Tracee(member.pid).make_call(SYS_getpid).result == 2); // what is on the table goes through
        }
    }
    CHECK(here.run_rnx({"run", "true"}).status == 0);
    CHECK(here.run_rnx({"volume", "list"}).status == 0);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 128 + SIGTERM);
}

TEST_CASE("capabilities are exactly the table's in every state: idle, with jobs, while volumes change, and after each daemon was killed") {
    Installation here;
    const bool can_grow = machine_can_grow();
    Sightings sightings;
    const auto settle = [&] {
        std::string found;
        CHECK_MESSAGE(becomes_true([&] { // a system job may be about to end
                          found.clear();
                          for (const auto& member : members_of(here)) {
                              found +=
                                  member.process.empty() ? "somebody is not finished; " : difference(member, can_grow, SystemJobs::AreOver);
                          }
                          return found.empty();
                      }),
                      found);
    };
    settle();
    std::optional<TwoJobs> jobs(here);
    {
        const Watch watch(here, sightings);
        settle();
        for (int i = 0; i < 3; ++i) {
            here.create("made" + std::to_string(i), "3MiB");
        }
        settle();
        (void)here.run_rnx({"volume", "resize", "shared", "--size=4MiB"}); // where the machine can: the job has it
        REQUIRE(here.run_rnx({"volume", "resize", "made0", "--size=5MiB"}).status == 0);
        REQUIRE(here.run_rnx({"volume", "remove", "made0", "--now", "--wait"}).status == 0);
        settle();
        for (const char* daemon : {"joblet-broker", "joblet-worker", "joblet-spawner", "joblet-api"}) {
            CAPTURE(daemon);
            here.kill_daemons(daemon);
            settle();
        }
    }
    here.kill_jobletd();
    here.start();
    {
        const Watch watch(here, sightings);
        settle();
        CHECK(here.shell({"-v", "made1:/data"}, "true").status == 0);
        jobs.reset();
        settle();
    }
    for (const auto& text : sightings.differences) {
        FAIL_CHECK(text);
    }
    for (const auto& row : process_capabilities()) {
        INFO(row.process);
        CHECK(sightings.processes.contains(std::string(row.process)));
    }
}

TEST_CASE("nobody without SYS_PTRACE looks into a daemon or a job's first process, root neither, nor joblet-api's own user") {
    const Installation here;
    const TwoJobs jobs(here);
    const auto members = finished_members(here);
    const auto api = std::ranges::find(members, "joblet-api", &Member::process);
    REQUIRE(api != members.end());
    const auto api_uid = static_cast<uid_t>(std::stoul(api->status.at("Uid")));
    REQUIRE(api_uid != 0);

    // Into what does not forbid it they can look
    const pid_t roots = ::fork();
    if (roots == 0) {
        ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); // as a program is that has just begun
        lose_trace_capability();
        ::alarm(60);
        ::pause();
        ::_exit(0);
    }
    CHECK(becomes_true([roots] { return can_look_into(roots, 0); }));
    ::kill(roots, SIGKILL);
    ::waitpid(roots, nullptr, 0);
    const Process of_api_user({{"/usr/bin/sleep", "60"}, api_uid});
    CHECK(becomes_true([&] { return can_look_into(of_api_user.pid(), api_uid); }));

    for (const auto& member : members) {
        if (member.process == "job") { // may look at itself: it is the user's own
            continue;
        }
        CAPTURE(member.process);
        CHECK_FALSE(can_look_into(member.pid, 0));
    }
    CHECK_FALSE(can_look_into(api->pid, api_uid));
}

TEST_SUITE_END();

} // namespace joblet::testing
