// Memory, processes and CPU time of jobs, held by controllers of cgroup2.
#include <doctest/doctest.h>

#include <csignal>

#include <sstream>
#include <thread>

#include <fmt/format.h>

#include "tests/system/vm_parts.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("vm_resources");

namespace {

Installation::Options with(const std::string& broker_toml = {}) {
    return vm_options(StoreMount::Kind::None, broker_toml);
}

// "usage_usec" of a job's cpu.stat.
std::uint64_t used_usec(const Installation& here, const std::string& job) {
    std::istringstream words(group_file(here, job, "cpu.stat"));
    std::string name;
    std::uint64_t value = 0;
    while (words >> name >> value) {
        if (name == "usage_usec") {
            return value;
        }
    }
    FAIL("no usage_usec");
    return 0;
}

} // namespace

TEST_CASE("a job beyond its memory is killed as a whole and told why; the pages of its memory volumes are its own") {
    const Installation here(with());
    const auto killed = here.shell({"--memory=48MiB"}, "sleep 300 & dd if=/dev/zero of=/dev/null bs=200M count=1; echo not reached; wait");
    CHECK(killed.status == 137);
    CHECK_MESSAGE(says(killed, "want of memory"), killed.err);
    CHECK(killed.out.empty());
    REQUIRE(
        here.run_rnx({"run", "-d", "--name", "hungry", "--memory=48MiB", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"})
            .status == 0);
    (void)here.run_rnx({"job", "wait", "hungry"});
    const json job = here.json_of({"job", "inspect", "hungry"});
    CHECK(job["limits"]["memory_bytes"] == 48 * kMiB);
    CHECK(job["limits"]["swap_bytes"] == 0);
    CHECK(job["exit"]["status"] == 137);
    CHECK_MESSAGE(job["exit"]["reason"].get<std::string>().find("want of memory") != std::string::npos, job["exit"].dump());

    here.create("mem", "256MiB", "memory");
    const auto filled =
        here.run_rnx({"run", "--memory=48MiB", "-v", "mem:/mem", "--", "dd", "if=/dev/zero", "of=/mem/f", "bs=1M", "count=100"});
    CHECK(filled.status == 137);
    CHECK_MESSAGE(says(filled, "want of memory"), filled.err);
    // With room for them it runs
    CHECK(here.shell({"--memory=160MiB", "-v", "mem:/mem"}, "dd if=/dev/zero of=/mem/f bs=1M count=100 2>/dev/null; echo fits").out ==
          "fits\n");
    CHECK(becomes_true([&here] { return here.job_groups().empty(); }));
}

TEST_CASE("a fork bomb is bounded, others go on, and it can be stopped") {
    const Installation here(with());
    Process other(here.shell_command({"--pids=20"}, "i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done"));
    REQUIRE(other.wait_for_output("2\n"));
    REQUIRE(here.run_rnx({"run", "-d", "--name", "bomb", "--pids=40", "--", "sh", "-c", "b() { b | b & b; }; b"}).status == 0);
    const std::string bomb = here.json_of({"job", "inspect", "bomb"})["id"];
    CHECK(group_file(here, bomb, "pids.max") == "40");
    CHECK(becomes_true([&] { return group_file(here, bomb, "pids.events").find("max 0") == std::string::npos; }, seconds(30)));
    for (int i = 0; i < 20; ++i) {
        const std::string now = group_file(here, bomb, "pids.current");
        CHECK((now.empty() || std::stoul(now) <= 40));
    }
    CHECK(here.shell({}, "echo runs").out == "runs\n");
    const auto stopped = here.run_rnx({"job", "stop", "--grace=0", "bomb"}, 0, seconds(60));
    REQUIRE_MESSAGE(stopped.status == 0, stopped.err);
    CHECK(becomes_true([&here] { return here.job_groups().size() == 1; }));
    other.signal(SIGTERM);
    CHECK(other.wait().status == 143);
}

TEST_CASE("CPU time: a job that spins gets its share and no more") {
    const Installation here(with());
    Process spinning(here.shell_command({"--cpus=0.25"}, "echo started; while :; do :; done"));
    REQUIRE(spinning.wait_for_output("started"));
    const std::string job = only_job(here);
    CHECK(group_file(here, job, "cpu.max") == "25000 100000");
    using Clock = std::chrono::steady_clock;
    const auto from = used_usec(here, job);
    const auto start = Clock::now();
    std::this_thread::sleep_for(seconds(6));
    const auto used = static_cast<double>(used_usec(here, job) - from);
    const auto passed = static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
    CHECK_MESSAGE(used <= 0.25 * 1.1 * passed, used, " of ", passed);
    CHECK_MESSAGE(used >= 0.05 * passed, used, " of ", passed); // it did spin; a slow machine may not give it all
    spinning.signal(SIGKILL);
    (void)spinning.wait();
}

TEST_CASE("a job is held to what it asks or broker.toml gives, the kernel's files say the same, and more than allowed is refused") {
    const Installation here(with("[jobs]\nmemory = \"64MiB\"\nmemory_max = \"128MiB\"\nprocesses = 30\nprocesses_max = 60\ncpus = 0.5\n"
                                 "cpus_max = 1.0\n"));
    {
        Process job(here.shell_command({}, "echo started; sleep 300"));
        REQUIRE(job.wait_for_output("started"));
        const std::string id = only_job(here);
        CHECK(group_file(here, id, "memory.max") == std::to_string(64 * kMiB));
        CHECK(group_file(here, id, "memory.swap.max") == "0");
        CHECK(group_file(here, id, "pids.max") == "30");
        CHECK(group_file(here, id, "cpu.max") == "50000 100000");
        const json limits = here.json_of({"job", "inspect", id})["limits"];
        CHECK(limits["memory_bytes"] == 64 * kMiB);
        CHECK(limits["swap_bytes"] == 0);
        CHECK(limits["processes"] == 30);
        CHECK(limits["cpus"] == 0.5);
        // A broker that is started anew knows them from the job's record
        here.kill_daemons("joblet-broker");
        CHECK(here.json_of({"job", "inspect", id})["limits"] == limits);
        job.signal(SIGTERM);
        CHECK(job.wait().status == 143);
    }
    Process asks(here.shell_command({"--memory=96MiB", "--swap=16MiB", "--pids=50", "--cpus=0.8"}, "echo started; sleep 300"));
    REQUIRE(asks.wait_for_output("started"));
    const std::string id = only_job(here);
    CHECK(group_file(here, id, "memory.max") == std::to_string(96 * kMiB));
    CHECK(group_file(here, id, "memory.swap.max") == std::to_string(16 * kMiB));
    CHECK(group_file(here, id, "pids.max") == "50");
    CHECK(group_file(here, id, "cpu.max") == "80000 100000");
    asks.signal(SIGTERM);
    CHECK(asks.wait().status == 143);
    struct Row {
        const char* option;
        const char* most;
    };
    for (const auto& [option, most] : {Row{"--memory=129MiB", "128.0 MiB"}, Row{"--pids=61", "60"}, Row{"--cpus=1.5", "1"}}) {
        CAPTURE(option);
        const auto refused = here.shell({option}, "echo not reached");
        CHECK(refused.status == 125);
        CHECK(refused.out.empty());
        CHECK_MESSAGE(says(refused, most), refused.err);
    }
}

TEST_SUITE_END();

} // namespace joblet::testing
