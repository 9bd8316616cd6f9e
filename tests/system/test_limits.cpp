// Limits for each user and for the host: a refusal names the limit, what is used and what was asked, and changes nothing.
#include <doctest/doctest.h>

#include <csignal>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("limits");

namespace {

Installation::Options with(const std::string& broker_toml) {
    Installation::Options options;
    options.broker_toml = broker_toml;
    return options;
}

void check_refused(const Outcome& outcome, int status, std::initializer_list<const char*> says) {
    CHECK(outcome.status == status);
    for (const char* const word : says) {
        CAPTURE(word);
        CHECK_MESSAGE(outcome.err.find(word) != std::string::npos, outcome.err);
    }
}

} // namespace

TEST_CASE("number, size and sum of a user's volumes are bounded, for him alone") {
    const Installation here(with("[limits]\nvolumes = 2\nlargest_volume = \"4MiB\"\ntotal_size = \"6MiB\"\n"));
    check_refused(here.run_rnx({"volume", "create", "large", "--size=5MiB"}, kAlice), 1, {"4.0 MiB", "5.0 MiB"});
    here.create("one", "4MiB", "memory", kAlice);
    check_refused(here.run_rnx({"volume", "create", "two", "--size=3MiB", "--type=memory"}, kAlice), 1, {"6.0 MiB", "4.0 MiB", "3.0 MiB"});
    here.create("two", "2MiB", "memory", kAlice);
    check_refused(here.run_rnx({"volume", "create", "three", "--size=1MiB", "--type=memory"}, kAlice), 1, {"limited to 2", "2 used"});
    CHECK(here.json_of({"volume", "list"}, kAlice).size() == 2);
    here.create("one", "4MiB", "memory", kBob);
    REQUIRE(here.run_rnx({"volume", "remove", "one"}, kAlice).status == 0);
    here.create("three", "4MiB", "memory", kAlice);
}

TEST_CASE("a user's own section of broker.toml counts for him, and what it does not say is as for all") {
    const Installation here(with("[limits]\nvolumes = 1\nlargest_volume = \"2MiB\"\n[users.20001]\nvolumes = 2\n"));
    here.create("one", "1MiB", "memory", kAlice);
    here.create("two", "1MiB", "memory", kAlice);
    check_refused(here.run_rnx({"volume", "create", "three", "--size=1MiB", "--type=memory"}, kAlice), 1, {"limited to 2"});
    check_refused(here.run_rnx({"volume", "create", "three", "--size=3MiB", "--type=memory"}, kAlice), 1, {"2.0 MiB"});
    here.create("one", "1MiB", "memory", kBob);
    check_refused(here.run_rnx({"volume", "create", "two", "--size=1MiB", "--type=memory"}, kBob), 1, {"limited to 1"});
}

TEST_CASE("running jobs are bounded for each user") {
    const Installation here(with("[users.20001]\nrunning_jobs = 1\n"));
    Process job(here.shell_command({}, "echo started; sleep 30", kAlice));
    REQUIRE(job.wait_for_output("started"));
    check_refused(here.shell({}, "true", kAlice), 125, {"running jobs", "limited to 1", "1 used", "1 asked"});
    CHECK(here.shell({}, "true", kBob).status == 0);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(here.shell({}, "true", kAlice).status == 0);
}

TEST_CASE("memory volumes are charged while a job has them: to their user, and to the host") {
    const Installation here(with("[limits]\nmemory_size = \"8MiB\"\n[volumes]\nmemory_budget = \"10MiB\"\n"));
    for (const char* const name : {"a", "b", "c"}) { // more than can be attached: they hold nothing yet
        here.create(name, "6MiB", "memory", kAlice);
    }
    here.create("d", "4MiB", "memory", kBob);
    here.create("e", "5MiB", "memory", kBob);
    check_refused(here.shell({"-v", "a", "-v", "b"}, "true", kAlice), 125, {"8.0 MiB", "0 B used", "12.0 MiB asked"});
    Process job(here.shell_command({"-v", "a"}, "echo started; sleep 30", kAlice));
    REQUIRE(job.wait_for_output("started"));
    check_refused(here.shell({"-v", "b"}, "true", kAlice), 125, {"8.0 MiB", "6.0 MiB used", "6.0 MiB asked"});
    check_refused(here.shell({"-v", "e"}, "true", kBob), 125, {"on this host", "10.0 MiB", "6.0 MiB used", "5.0 MiB asked"});
    CHECK(here.json_of({"volume", "inspect", "e"}, kBob)["status"] == "available");
    CHECK(here.shell({"-v", "d"}, "true", kBob).status == 0);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(here.shell({"-v", "b"}, "true", kAlice).status == 0);
    CHECK(here.shell({"-v", "e"}, "true", kBob).status == 0);
}

TEST_CASE("attached memory is charged after a restart of the broker as before it") {
    const Installation here(with("[limits]\nmemory_size = \"8MiB\"\n"));
    here.create("a", "6MiB", "memory", kAlice);
    here.create("b", "6MiB", "memory", kAlice);
    Process job(here.shell_command({"-v", "a"}, "echo started; sleep 30", kAlice));
    REQUIRE(job.wait_for_output("started"));
    for (const pid_t broker : here.daemons("joblet-broker")) {
        ::kill(broker, SIGKILL);
    }
    REQUIRE(here.wait_ready());
    check_refused(here.shell({"-v", "b"}, "true", kAlice), 125, {"6.0 MiB used"});
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(becomes_true([&here] { return here.shell({"-v", "b"}, "true", kAlice).status == 0; }));
}

TEST_CASE("idle memory volumes go after their time and never while a job has them; others stay") {
    const Installation here(with("[volumes]\nmemory_volume_timeout = \"2s\"\ncleaner_interval = \"1s\"\n"));
    here.create("idle", "1MiB", "memory");
    here.create("used", "1MiB", "memory");
    here.create("kept", "1MiB", "filesystem");
    Process job(here.shell_command({"-v", "used:/m"}, "echo here >/m/f; echo started; sleep 5; cat /m/f"));
    REQUIRE(job.wait_for_output("started"));
    CHECK(becomes_true([&here] { return here.run_rnx({"volume", "inspect", "idle"}).status == 1; }));
    CHECK(here.json_of({"volume", "inspect", "used"})["status"] == "in_use");
    const auto ended = job.wait();
    CHECK(ended.status == 0);
    CHECK(ended.out.find("here") != std::string::npos);
    CHECK(becomes_true([&here] { return here.run_rnx({"volume", "inspect", "used"}).status == 1; }));
    CHECK(here.json_of({"volume", "list"}).size() == 1);
    CHECK(here.json_of({"volume", "inspect", "kept"})["status"] == "available");
}

TEST_SUITE_END();

} // namespace joblet::testing
