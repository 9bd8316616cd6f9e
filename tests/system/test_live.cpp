// Volumes that come to a running job and leave it.
#include <doctest/doctest.h>

#include <csignal>

#include <fmt/format.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("live");

namespace {

bool says(const Outcome& outcome, std::string_view word) {
    return outcome.err.find(word) != std::string::npos;
}

// A job that does what is written into its control volume: waits for /volumes/NAME to come, to go, and so on.
constexpr auto kWaitsForData = "echo started; until [ -e /volumes/data ]; do sleep 0.02; done; ";

std::string only_job(const Installation& here, uid_t uid = 0) {
    const json running = here.json_of({"job", "list", "--state", "running"}, uid);
    REQUIRE(running.size() == 1);
    return running[0]["id"];
}

} // namespace

TEST_CASE("a volume appears at /volumes/NAME of a running job, and leaves it") {
    const Installation here;
    here.create("data", "8MiB");
    here.create("own");
    REQUIRE(here.shell({"-v", "data:/data"}, "echo kept >/data/f; cp /bin/busybox /data/busybox").status == 0);
    Process job(
        here.shell_command({"-v", "own:/own"}, std::string(kWaitsForData) +
                                                   "cat /volumes/data/f; echo more >>/volumes/data/f; /volumes/data/busybox echo runs; "
                                                   "exec 3</volumes/data/f; until [ ! -e /volumes/data ]; do sleep 0.02; done; "
                                                   "ls /volumes; cat <&3; echo gone; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    const std::string id = only_job(here);
    REQUIRE(here.run_rnx({"volume", "attach", "data", id.substr(0, 8)}).status == 0);
    CHECK(job.wait_for_output("kept\nruns\n"));
    const json volume = here.json_of({"volume", "inspect", "data"});
    CHECK(volume["status"] == "in_use");
    CHECK(volume["current_job_id"] == id);
    CHECK(here.json_of({"job", "inspect", id})["volumes"].size() == 2);
    const auto removed = here.run_rnx({"volume", "remove", "data"});
    CHECK(removed.status == 1);
    CHECK(says(removed, id));
    CHECK(here.run_rnx({"volume", "attach", "data", id}).status == 1); // it has it
    REQUIRE(here.run_rnx({"volume", "detach", "data", id}).status == 0);
    CHECK(job.wait_for_output("own\nkept\nmore\ngone\n"));
    CHECK(here.json_of({"volume", "inspect", "data"})["status"] == "available");
    CHECK(here.json_of({"job", "inspect", id})["volumes"].size() == 1);
    CHECK(here.run_rnx({"volume", "detach", "data", id}).status == 1);
    // what it was started with leaves by both of its paths
    REQUIRE(here.run_rnx({"volume", "detach", "own", id}).status == 0);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(becomes_true([&here] { return here.loops().empty(); }));
    CHECK(here.shell({"-v", "data:/data", "-v", "own:/own"}, "cat /data/f; ls /own | wc -l").out == "kept\nmore\n0\n");
}

TEST_CASE("read-only is read-only, and a writer elsewhere is in the way") {
    const Installation here;
    here.create("data");
    Process job(here.shell_command({}, std::string(kWaitsForData) + "touch /volumes/data/x || echo refused; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    const std::string id = only_job(here);
    Process writer(here.shell_command({"-v", "data:/data"}, "echo started; sleep 30"));
    REQUIRE(writer.wait_for_output("started"));
    const auto refused = here.run_rnx({"volume", "attach", "--read-only", "data", id});
    CHECK(refused.status == 1);
    CHECK_MESSAGE(says(refused, "in use"), refused.err);
    writer.signal(SIGTERM);
    CHECK(writer.wait().status == 143);
    REQUIRE(here.run_rnx({"volume", "attach", "--read-only", "data", id}).status == 0);
    CHECK(job.wait_for_output("refused"));
    CHECK(here.shell({"-v", "data:ro"}, "true").status == 0);
    CHECK(here.shell({"-v", "data"}, "true").status == 125);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
}

TEST_CASE("only to one's own jobs, only one's own volumes, only while they run, at most sixteen") {
    const Installation here;
    here.create("data", "1MiB", "memory", kAlice);
    here.create("data", "1MiB", "memory", kBob);
    Process job(here.shell_command({}, "echo started; sleep 30", kAlice));
    REQUIRE(job.wait_for_output("started"));
    const std::string id = only_job(here, kAlice);
    const std::string bobs = here.json_of({"volume", "inspect", "data"}, kBob)["id"];
    const auto others_job = here.run_rnx({"volume", "attach", "data", id}, kBob);
    CHECK(others_job.status == 1);
    CHECK_MESSAGE(says(others_job, "no job"), others_job.err);
    const auto others_volume = here.run_rnx({"volume", "attach", bobs, id}, kAlice);
    CHECK(others_volume.status == 1);
    CHECK_MESSAGE(says(others_volume, "no volume"), others_volume.err);
    CHECK(here.run_rnx({"volume", "attach", "data", "nothing"}, kAlice).status == 1);
    for (int i = 0; i < 16; ++i) {
        const auto name = fmt::format("m{}", i);
        here.create(name, "1MiB", "memory", kAlice);
        CHECK(here.run_rnx({"volume", "attach", name, id}, kAlice).status == 0);
    }
    const auto too_many = here.run_rnx({"volume", "attach", "data", id}, kAlice);
    CHECK(too_many.status == 1);
    CHECK_MESSAGE(says(too_many, "16"), too_many.err);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(here.run_rnx({"volume", "attach", "data", id}, kAlice).status == 1);
    CHECK(here.json_of({"volume", "list", "--status=in_use"}, kAlice).empty());
}

TEST_CASE("memory that a job may still hold of what was detached stays charged until it ends") {
    Installation::Options options;
    options.broker_toml = "[limits]\nmemory_size = \"8MiB\"\n";
    const Installation here(options);
    here.create("data", "6MiB", "memory");
    Process job(
        here.shell_command({}, std::string(kWaitsForData) + "echo x >/volumes/data/f; exec 3</volumes/data/f; echo held; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    const std::string id = only_job(here);
    REQUIRE(here.run_rnx({"volume", "attach", "data", id}).status == 0);
    REQUIRE(job.wait_for_output("held"));
    REQUIRE(here.run_rnx({"volume", "detach", "data", id}).status == 0);
    for (int round = 0; round < 2; ++round) {
        const auto refused = here.run_rnx({"volume", "attach", "data", id});
        CHECK(refused.status == 1);
        CHECK_MESSAGE(says(refused, "6.0 MiB used"), refused.err);
        here.kill_daemons("joblet-broker");
    }
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(becomes_true([&here] { return here.shell({"-v", "data"}, "true").status == 0; }));
}

TEST_CASE("a broker that is started anew knows what a running job was given, and takes it away") {
    const Installation here;
    here.create("data");
    Process job(here.shell_command({}, std::string(kWaitsForData) +
                                           "echo has; until [ ! -e /volumes/data ]; do sleep 0.02; done; echo lost; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    const std::string id = only_job(here);
    REQUIRE(here.run_rnx({"volume", "attach", "data", id}).status == 0);
    CHECK(job.wait_for_output("has"));
    here.kill_daemons("joblet-broker");
    CHECK(here.json_of({"volume", "inspect", "data"})["current_job_id"] == id);
    CHECK(here.shell({"-v", "data"}, "true").status == 125);
    REQUIRE(here.run_rnx({"volume", "detach", "data", id}).status == 0);
    CHECK(job.wait_for_output("lost"));
    CHECK(here.shell({"-v", "data"}, "true").status == 0);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
}

TEST_CASE("attaching and detaching while the job ends, at any moment, leaves nothing") {
    const Installation here;
    here.create("data");
    const int rounds = std::getenv("JOBLET_TEST_LONG") != nullptr ? 60 : 8;
    for (int round = 0; round < rounds; ++round) {
        CAPTURE(round);
        Process job(here.shell_command({}, "echo started; sleep 0.1"));
        REQUIRE(job.wait_for_output("started"));
        const std::string id = only_job(here);
        std::this_thread::sleep_for(milliseconds(round * 7 % 100));
        const auto attached = here.run_rnx({"volume", "attach", "data", id});
        const auto detached = here.run_rnx({"volume", "detach", "data", id});
        CHECK((attached.status == 0 || attached.status == 1));
        CHECK((detached.status == 0 || detached.status == 1));
        CHECK(job.wait().status == 0);
        CHECK(becomes_true([&here] { return here.json_of({"volume", "inspect", "data"})["status"] == "available"; }));
    }
    CHECK(becomes_true([&here] { return here.loops().empty(); }));
    CHECK(here.shell({"-v", "data"}, "true").status == 0);
}

TEST_SUITE_END();

} // namespace joblet::testing
