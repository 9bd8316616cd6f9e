// The daemons themselves: started, configured, confined, killed at any time.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

#include <fmt/format.h>

#include "shared/fd.h"
#include "tests/system/hostile_client.h"
#include "tests/system/installation.h"
#include "tests/system/members.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("daemons");

namespace {

std::string mask(std::initializer_list<unsigned> capabilities) {
    unsigned long long bits = 0;
    for (const unsigned capability : capabilities) {
        bits |= 1ULL << capability;
    }
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%016llx", bits);
    return text.data();
}

// linux/capability.h
constexpr unsigned kChown = 0;
constexpr unsigned kDacReadSearch = 2;
constexpr unsigned kSetgid = 6;
constexpr unsigned kSetuid = 7;
constexpr unsigned kSetpcap = 8;
constexpr unsigned kNetAdmin = 12;
constexpr unsigned kSysChroot = 18;
constexpr unsigned kSysAdmin = 21;
constexpr unsigned kSysResource = 24;

void wait_for_new(const Installation& here, const char* daemon, pid_t old) {
    REQUIRE(becomes_true([&] {
        const auto now = here.daemons(daemon);
        return !now.empty() && std::ranges::find(now, old) == now.end();
    }));
    REQUIRE(here.wait_ready());
}

} // namespace

TEST_CASE("each daemon has exactly the ids and capabilities of the design, a filter, one thread, and cannot gain more") {
    const Installation here;
    struct Row {
        const char* daemon;
        std::string capabilities;
        std::string permitted;
        std::size_t count;
    };
    // What a worker may raise for the one call that grows a volume which is attached; not everywhere root has it
    const auto own = std::stoull(status_of(::getpid())["CapBnd"], nullptr, 16);
    const bool can_grow = (own >> kSysResource & own >> kDacReadSearch & 1U) != 0;
    const Row rows[] = {
        {"joblet-broker", mask({}), mask({}), 1},
        {"joblet-worker", mask({kSysAdmin, kSysChroot, kChown}),
         can_grow ? mask({kSysAdmin, kSysChroot, kChown, kSysResource, kDacReadSearch}) : mask({kSysAdmin, kSysChroot, kChown}), 4},
        {"joblet-spawner", mask({kSysAdmin, kSysChroot, kSetuid, kSetgid, kSetpcap, kNetAdmin}),
         mask({kSysAdmin, kSysChroot, kSetuid, kSetgid, kSetpcap, kNetAdmin}), 1},
        {"joblet-api", mask({}), mask({}), 1},
    };
    for (const auto& [daemon, capabilities, permitted, count] : rows) {
        const auto pids = here.daemons(daemon);
        CAPTURE(daemon);
        REQUIRE(pids.size() == count);
        for (const pid_t pid : pids) {
            auto status = status_of(pid);
            CHECK(status["CapPrm"] == permitted);
            CHECK(status["CapEff"] == capabilities);
            CHECK(status["CapInh"] == mask({}));
            CHECK(status["CapAmb"] == mask({}));
            CHECK(status["NoNewPrivs"] == "1");
            CHECK(status["Seccomp"] == "2");
            const bool is_api = std::string_view(daemon) == "joblet-api";
            CHECK((status["Uid"].find("0\t0\t0\t0") == 0) == !is_api);
            if (!is_api) {
                CHECK(status["CapBnd"] == permitted);
                CHECK(status["Threads"] == "1");
            }
        }
    }
    CHECK(status_of(here.jobletd())["Seccomp"] == "2");
}

TEST_CASE("case_13: a daemon that was not started by jobletd refuses to start") {
    for (const char* daemon : {"joblet-broker", "joblet-worker", "joblet-spawner", "joblet-api"}) {
        CAPTURE(daemon);
        const auto outcome = run({{binary(daemon), "--root", "/var/lib/there-is-no-such-root"}}, seconds(5));
        CHECK(outcome.status > 0);
        CHECK(outcome.status < 128);
        CHECK(!outcome.err.empty());
    }
}

TEST_CASE("a bad key or value in either configuration stops the start with file, line and what is allowed") {
    struct Row {
        const char* broker;
        const char* api;
        const char* says;
    };
    for (const auto& [broker, api, says] : {Row{"[workers]\ncount = 99\n", "", "broker.toml:2: "},
                                            Row{"[wrokers]\n", "", "broker.toml:1: "}, Row{"", "no_such_key = 1\n", "api.toml:1: "}}) {
        CAPTURE(says);
        std::string message;
        try {
            const Installation here(Installation::Options{broker, api, {}});
        } catch (const std::exception& error) {
            message = error.what();
        }
        CHECK_MESSAGE(message.find(says) != std::string::npos, message);
        CHECK(message.find("allowed") != std::string::npos);
    }
}

TEST_CASE("the printed configurations document every key") {
    const auto broker = run({{binary("jobletd"), "--print-config", "broker"}});
    CHECK(broker.status == 0);
    CHECK(broker.out.find("[limits]") != std::string::npos);
    const auto api = run({{binary("jobletd"), "--print-config", "api"}});
    CHECK(api.status == 0);
    CHECK(api.out.find('#') != std::string::npos);
}

TEST_CASE("case_14: a root below a directory that others can write to is refused") {
    std::string path = "/tmp/joblet-refused.XXXXXX";
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    const auto outcome = run({{binary("jobletd"), "--root", path}}, seconds(10));
    ::rmdir(path.c_str());
    CHECK(outcome.status != 0);
    CHECK(outcome.err.find("/tmp") != std::string::npos);
}

TEST_CASE("a second jobletd on the same root is refused") {
    const Installation here;
    const auto second = run({{binary("jobletd"), "--root", here.root()}}, seconds(10));
    CHECK(second.status != 0);
    CHECK(here.run_rnx({"volume", "list"}).status == 0);
}

TEST_CASE("case_35: whichever daemon is killed, the job runs on, its exit code arrives, and the next job has the volume") {
    const Installation here;
    here.create("data");
    for (const char* daemon : {"joblet-api", "joblet-broker", "joblet-worker", "joblet-spawner"}) {
        CAPTURE(daemon);
        Process job(here.shell_command(
            {"-v", "data:/data"},
            "echo ready; while [ ! -e /data/go ]; do sleep 0.05; [ $((n=n+1)) -lt 60 ] || break; done; echo written >/data/f; exit 5"));
        REQUIRE(job.wait_for_output("ready"));
        const pid_t victim = here.daemons(daemon).front();
        ::kill(victim, SIGKILL);
        if (std::string_view(daemon) == "joblet-worker") {
            REQUIRE(becomes_true([&] { return here.daemons(daemon).size() == 4; }));
            REQUIRE(here.wait_ready());
        } else {
            wait_for_new(here, daemon, victim);
        }
        // still the job's, and it is still writing to it
        const json volume = here.json_of({"volume", "inspect", "data"});
        CHECK(volume["status"] == "in_use");
        CHECK(here.run_rnx({"volume", "remove", "data"}).status == 1);
        const auto ended = job.wait();
        CHECK_MESSAGE(ended.status == 5, ended.err);
        CHECK(here.shell({"-v", "data:/data"}, "cat /data/f; rm /data/f").out == "written\n");
    }
}

TEST_CASE("case_35: when jobletd itself is killed, jobs run on, and are known to the next one") {
    Installation here;
    here.create("data");
    Process job(here.shell_command({"-v", "data:/data"}, "echo ready; sleep 2; echo written >/data/f; exit 6"));
    REQUIRE(job.wait_for_output("ready"));
    here.kill_jobletd();
    here.start();
    CHECK(here.json_of({"volume", "inspect", "data"})["status"] == "in_use");
    CHECK(here.shell({"-v", "data"}, "true").status == 125);
    CHECK(job.wait().status == 6);
    CHECK(becomes_true([&here] { return here.json_of({"volume", "inspect", "data"})["status"] == "available"; }));
    CHECK(here.shell({"-v", "data:/data"}, "cat /data/f").out == "written\n");
}

TEST_CASE("a job of a jobletd that was killed can be stopped") {
    Installation here;
    const auto started = here.run_rnx({"run", "-d", "--", "sleep", "300"});
    REQUIRE(started.status == 0);
    const std::string id = started.out.substr(0, started.out.find('\n'));
    here.kill_jobletd();
    here.start();
    // Nobody can ask it any more, so it is ended
    const auto stopped = here.run_rnx({"job", "stop", id});
    CHECK_MESSAGE(stopped.status == 0, stopped.err);
    CHECK(here.run_rnx({"job", "wait", id}).out == "137\n");
}

TEST_CASE("workers that are killed while a job ends leave no volume that nobody can use") {
    const Installation here;
    here.create("data");
    const int rounds = is_long() ? 200 : 10;
    for (int i = 0; i < rounds; ++i) {
        Process job(here.shell_command({"-v", "data:/data"}, "echo ready; exec sleep 600"));
        REQUIRE(job.wait_for_output("ready"));
        job.signal(SIGKILL);
        for (int kill = 0; kill < 2; ++kill) {
            for (const pid_t worker : here.daemons("joblet-worker")) {
                ::kill(worker, SIGKILL);
            }
            std::this_thread::sleep_for(milliseconds(1 + i % 5));
        }
        (void)job.wait();
        REQUIRE(here.wait_ready());
        REQUIRE(becomes_true([&here] { return here.job_groups().empty(); }));
        std::string status;
        CHECK_MESSAGE(becomes_true([&] {
                          status = here.json_of({"volume", "inspect", "data"})["status"];
                          return status == "available";
                      }),
                      status);
    }
    CHECK(here.shell({"-v", "data:/data"}, "echo x >/data/f && cat /data/f").out == "x\n");
}

TEST_CASE("a volume whose mount somebody keeps after the end of its job is nobody's until he lets go of it, and no longer") {
    const Installation here;
    here.create("data");
    std::optional<Process> job(here.shell_command({"-v", "data:/data"}, "echo ready; exec sleep 600"));
    REQUIRE(job->wait_for_output("ready"));
    const auto id = here.json_of({"job", "list"})[0]["id"].get<std::string>();
    std::istringstream pids(read_file(here.cgroup() + "/jobs/" + id + "/cgroup.procs"));
    pid_t pid = 0;
    pids >> pid;
    Fd kept(::open(fmt::format("/proc/{}/ns/mnt", pid).c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(kept.valid());
    job->signal(SIGTERM);
    (void)job->wait();
    const auto status = [&here] { return here.json_of({"volume", "inspect", "data"})["status"].get<std::string>(); };
    CHECK(becomes_true([&status] { return status() == "quarantined"; }, seconds(30)));
    CHECK(here.job_groups().empty()); // what was the job's can be had by the next one
    CHECK(here.shell({"-v", "data:/data"}, "true").status == 125);
    // Also for a broker that was not there when the job ended
    here.kill_daemons("joblet-broker");
    REQUIRE(here.wait_ready());
    CHECK(status() != "available");
    CHECK(here.shell({"-v", "data:/data"}, "true").status == 125);
    kept.reset();
    CHECK(becomes_true([&status] { return status() == "available"; }, seconds(30)));
    CHECK(here.shell({"-v", "data:/data"}, "true").status == 0);
}

TEST_CASE("what was acknowledged is there after every daemon was killed, and after the database was lost") {
    Installation here;
    for (int i = 0; i < 5; ++i) {
        here.create("v" + std::to_string(i), "1MiB", i % 2 == 0 ? "filesystem" : "memory");
    }
    REQUIRE(here.run_rnx({"volume", "remove", "v3"}).status == 0);
    REQUIRE(here.shell({"-v", "v0:/data"}, "echo kept >/data/f").status == 0);
    const auto ids = [&here] {
        std::map<std::string, std::string> out;
        for (const json& volume : here.json_of({"volume", "list"})) {
            out[volume["name"]] = volume["id"];
        }
        return out;
    };
    const auto before = ids();
    CHECK(before.size() == 4);
    here.kill_jobletd();
    REQUIRE(becomes_true([&here] { return run({{"/usr/bin/find", here.state() + "/api", "-name", "*.db*", "-delete"}}).status == 0; }));
    here.start();
    CHECK(ids() == before);
    CHECK(here.shell({"-v", "v0:/data"}, "cat /data/f").out == "kept\n");
}

TEST_CASE("jobletd stops at SIGTERM, and starts again on what is there") {
    Installation here;
    here.create("data");
    CHECK(here.stop() == 0);
    CHECK(::access(here.socket().c_str(), F_OK) != 0);
    here.start();
    CHECK(here.json_of({"volume", "list"}).size() == 1);
}

TEST_SUITE_END();

} // namespace joblet::testing
