// Many at once.
#include <doctest/doctest.h>

#include <csignal>
#include <cstdlib>
#include <set>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("concurrency");

TEST_CASE("forty creates at once, of two users, all succeed and are all different") {
    const Installation here;
    std::vector<Process> creates;
    creates.reserve(40);
    for (int i = 0; i < 40; ++i) {
        const bool memory = i % 4 == 3;
        creates.emplace_back(
            here.rnx({"volume", "create", "v" + std::to_string(i), "--size=1MiB", memory ? "--type=memory" : "--type=filesystem"},
                     i % 2 == 0 ? kAlice : kBob));
    }
    for (auto& create : creates) {
        const auto outcome = create.wait(seconds(120));
        CHECK_MESSAGE(outcome.status == 0, outcome.err);
    }
    std::set<std::string> ids;
    for (const uid_t uid : {kAlice, kBob}) {
        const json list = here.json_of({"volume", "list"}, uid);
        CHECK(list.size() == 20);
        for (const json& volume : list) {
            ids.insert(volume["id"]);
        }
    }
    CHECK(ids.size() == 40);
}

TEST_CASE("the same name created forty times at once is one volume") {
    const Installation here;
    std::vector<Process> creates;
    creates.reserve(40);
    for (int i = 0; i < 40; ++i) {
        creates.emplace_back(here.rnx({"volume", "create", "same", "--size=1MiB"}));
    }
    for (auto& create : creates) {
        CHECK(create.wait(seconds(120)).status == 0);
    }
    CHECK(here.json_of({"volume", "list"}).size() == 1);
}

TEST_CASE("forty jobs at once, each on its own volume and in its own slot, none in another's way") {
    Installation::Options options;
    options.broker_toml = "[limits]\nrunning_jobs = 400\n";
    const Installation here(options);
    const int count = std::getenv("JOBLET_TEST_LONG") != nullptr ? 300 : 40;
    for (int i = 0; i < count; ++i) {
        here.create("v" + std::to_string(i), "1MiB", i % 2 == 0 ? "filesystem" : "memory");
    }
    std::vector<Process> jobs;
    jobs.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        jobs.emplace_back(here.shell_command({"-v", "v" + std::to_string(i) + ":/data"},
                                             "echo " + std::to_string(i) +
                                                 " >/data/f; cut -c 11-21 /proc/self/uid_map; sleep 1; cat /data/f; exit " +
                                                 std::to_string(i % 256)));
    }
    std::set<std::string> slots;
    for (int i = 0; i < count; ++i) {
        const auto outcome = jobs[static_cast<std::size_t>(i)].wait(seconds(120));
        CHECK_MESSAGE(outcome.status == i % 256, outcome.err);
        const auto line = outcome.out.find('\n');
        slots.insert(outcome.out.substr(0, line));
        CHECK(outcome.out.substr(line + 1) == std::to_string(i) + "\n");
    }
    // All of them slept at the same time for a second; a slot is never shared by two live jobs
    CHECK(slots.size() > 1);
    CHECK(becomes_true([&here] { return here.job_groups().empty() && here.loops().empty(); }));
}

TEST_CASE("a job that is killed takes nothing from those that start meanwhile") {
    const Installation here;
    const int rounds = std::getenv("JOBLET_TEST_LONG") != nullptr ? 300 : 30;
    for (int i = 0; i < rounds; ++i) {
        const auto victim = here.run_rnx({"run", "-d", "--", "sleep", "60"});
        REQUIRE_MESSAGE(victim.status == 0, victim.err);
        Process kill(here.rnx({"job", "kill", victim.out.substr(0, victim.out.find('\n'))}));
        std::vector<Process> starts;
        starts.reserve(4);
        for (int j = 0; j < 4; ++j) {
            starts.emplace_back(here.shell_command({}, "exit 3"));
        }
        CHECK(kill.wait().status == 0);
        for (auto& start : starts) {
            const auto outcome = start.wait();
            CHECK_MESSAGE(outcome.status == 3, outcome.err);
        }
    }
}

TEST_CASE("jobs one after another leave nothing behind") {
    const Installation here;
    here.create("data");
    const int count = std::getenv("JOBLET_TEST_LONG") != nullptr ? 2000 : 100;
    const auto descriptors = [&here] {
        std::size_t open = 0;
        for (const char* daemon : {"joblet-broker", "joblet-worker", "joblet-spawner", "joblet-api"}) {
            for (const pid_t pid : here.daemons(daemon)) {
                open +=
                    static_cast<std::size_t>(std::stoul(run({{"/bin/sh", "-c", "ls /proc/" + std::to_string(pid) + "/fd | wc -l"}}).out));
            }
        }
        return open;
    };
    for (int i = 0; i < 10; ++i) {
        REQUIRE(here.shell({"-v", "data:/data"}, "true").status == 0);
    }
    REQUIRE(becomes_true([&here] { return here.job_groups().empty(); }));
    const auto before = descriptors();
    for (int i = 0; i < count; ++i) {
        REQUIRE(here.shell({"-v", "data:/data"}, "echo x >>/data/f").status == 0);
    }
    CHECK(becomes_true([&here] { return here.job_groups().empty() && here.loops().empty(); }));
    CHECK(becomes_true([&] { return descriptors() <= before + 8; })); // templates kept in four workers
    CHECK(here.shell({"-v", "data:/data"}, "wc -l </data/f").out == std::to_string(count) + "\n");
}

TEST_CASE("when all slots are taken, a job is refused and says so, and one that ends makes room") {
    Installation::Options options;
    options.broker_toml = "[slots]\ncount = 3\n";
    const Installation here(options);
    std::vector<Process> jobs;
    jobs.reserve(3);
    for (int i = 0; i < 3; ++i) {
        jobs.emplace_back(here.shell_command({}, "echo started; sleep 30", i % 2 == 0 ? kAlice : kBob));
        REQUIRE(jobs.back().wait_for_output("started"));
    }
    const auto refused = here.shell({}, "true");
    CHECK(refused.status == 125);
    CHECK_MESSAGE(refused.err.find("limited to 3; 3 used") != std::string::npos, refused.err);
    CHECK(here.run_rnx({"volume", "create", "data", "--size=1MiB"}).status == 1); // mkfs is a job, too
    CHECK(here.json_of({"volume", "list"}).empty());
    jobs.front().signal(SIGTERM);
    CHECK(jobs.front().wait().status == 143);
    CHECK(becomes_true([&here] { return here.shell({}, "true").status == 0; }));
    for (std::size_t i = 1; i < jobs.size(); ++i) {
        jobs[i].signal(SIGTERM);
        CHECK(jobs[i].wait().status == 143);
    }
}

TEST_SUITE_END();

} // namespace joblet::testing
