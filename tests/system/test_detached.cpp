// Jobs that run on without their rnx, what is left of them, and how they are looked at and ended.
#include <doctest/doctest.h>

#include <csignal>

#include <filesystem>

#include <fmt/format.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("detached");

namespace {

std::string line_of(const Outcome& outcome) {
    return outcome.out.substr(0, outcome.out.find('\n'));
}

std::string detach(const Installation& here, const std::string& script, Words options = {}, uid_t uid = 0) {
    options.insert(options.begin(), "-d");
    const auto outcome = here.shell(options, script, uid);
    REQUIRE_MESSAGE(outcome.status == 0, outcome.err);
    const auto id = line_of(outcome);
    REQUIRE(id.size() == 32);
    return id;
}

bool has_ended(const Installation& here, const std::string& id, uid_t uid = 0) {
    return here.json_of({"job", "inspect", id}, uid)["state"] == "ended";
}

bool says(const Outcome& outcome, std::string_view word) {
    return outcome.err.find(word) != std::string::npos;
}

} // namespace

TEST_CASE("a detached job is known by id, prefix and name, and its log has what it wrote, each to where it belongs") {
    const Installation here;
    here.create("data");
    const auto id =
        detach(here, "echo out; echo err >&2; cat; echo again >/dev/stdout; exit 3", {"--name", "first", "-v", "data:/data"}, 0);
    for (const auto& word : {id, id.substr(0, 8), std::string("first")}) {
        CAPTURE(word);
        const auto waited = here.run_rnx({"job", "wait", word});
        CHECK(waited.status == 0);
        CHECK(waited.out.find('3') != std::string::npos);
        const auto logs = here.run_rnx({"job", "logs", word});
        CHECK(logs.out == "out\nagain\n");
        CHECK(logs.err == "err\n");
    }
    const json job = here.json_of({"job", "inspect", "first"});
    CHECK(job["id"] == id);
    CHECK(job["state"] == "ended");
    CHECK(job["exit"]["code"] == 3);
    CHECK(job["exit"]["signal"].is_null());
    CHECK(job["exit"]["reason"].get<std::string>().find('3') != std::string::npos);
    CHECK(job["volumes"][0]["name"] == "data");
    CHECK(here.json_of({"job", "list"}).size() == 1);
    const auto taken = here.shell({"-d", "--name", "first"}, "true");
    CHECK(taken.status == 125);
    CHECK(says(taken, "first"));
    CHECK(here.run_rnx({"job", "remove", "first"}).status == 0);
    CHECK(here.json_of({"job", "list"}).empty());
    CHECK(here.run_rnx({"job", "logs", id}).status == 1);
    CHECK(becomes_true([&here] { return std::filesystem::is_empty(here.root() + "/opt/joblet/jobs"); }));
}

TEST_CASE("jobs and logs are their user's, and an admin's who asks") {
    const Installation here;
    const auto id = detach(here, "echo secret", {}, kAlice);
    CHECK(here.run_rnx({"job", "wait", id}, kAlice).status == 0);
    for (const Words& words :
         {Words{"job", "inspect", id}, Words{"job", "logs", id}, Words{"job", "remove", id}, Words{"job", "kill", id}}) {
        CHECK(here.run_rnx(words, kBob).status == 1);
    }
    CHECK(here.json_of({"job", "list"}, kBob).empty());
    CHECK(here.json_of({"job", "list", "--all-users"}).size() == 1);
    CHECK(here.run_rnx({"job", "list", "--all-users"}, kBob).status == 1);
}

TEST_CASE("stop asks first and then ends, kill sends what it is told, rm takes the log with it") {
    const Installation here;
    const auto polite = detach(here, "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done");
    const auto stubborn = detach(here, "trap '' TERM; echo up; while :; do sleep 0.05; done");
    for (const auto& id : {polite, stubborn}) {
        CHECK(becomes_true([&] { return here.run_rnx({"job", "logs", id}).out == "up\n"; }));
    }
    CHECK(here.run_rnx({"job", "stop", polite}).status == 0);
    CHECK(here.json_of({"job", "inspect", polite})["exit"]["code"] == 7);
    CHECK(here.run_rnx({"job", "logs", polite}).out == "up\nbye\n");
    CHECK(here.run_rnx({"job", "remove", stubborn}).status == 1); // it runs
    CHECK(here.run_rnx({"job", "stop", "--grace", "1s", stubborn}).status == 0);
    CHECK(here.json_of({"job", "inspect", stubborn})["exit"]["signal"] == 9);
    const auto signalled = detach(here, "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done");
    CHECK(becomes_true([&] { return here.run_rnx({"job", "logs", signalled}).out == "up\n"; }));
    CHECK(here.run_rnx({"job", "kill", "--signal", "USR1", signalled}).status == 0);
    CHECK(becomes_true([&] { return here.run_rnx({"job", "logs", signalled}).out == "up\nusr1\n"; }));
    CHECK(here.run_rnx({"job", "kill", signalled}).status == 0);
    CHECK(becomes_true([&] { return has_ended(here, signalled); }));
    CHECK(here.run_rnx({"job", "kill", signalled}).status == 1);
    CHECK(here.json_of({"job", "list"}).size() == 3);
    CHECK(here.run_rnx({"job", "prune"}).status == 0);
    CHECK(here.json_of({"job", "list"}).empty());
    // with --rm nothing stays
    detach(here, "echo x", {"--rm"});
    CHECK(becomes_true([&here] { return here.json_of({"job", "list"}).empty(); }));
    CHECK(becomes_true([&here] { return std::filesystem::is_empty(here.root() + "/opt/joblet/jobs"); }));
}

TEST_CASE("a detached job outlives rnx, the API, the broker and jobletd; its log goes on and is found again") {
    Installation here;
    const auto id = detach(here, "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); sleep 0.02; done");
    CHECK(becomes_true([&] { return here.run_rnx({"job", "logs", id}).out.find("line 3") != std::string::npos; }));
    here.kill_daemons("joblet-api");
    here.kill_daemons("joblet-broker");
    here.kill_daemons("joblet-spawner");
    CHECK(here.stop() == 0);
    here.start();
    const auto before = here.run_rnx({"job", "logs", id}).out.size();
    CHECK(becomes_true([&] { return here.run_rnx({"job", "logs", id}).out.size() > before; }));
    CHECK(here.json_of({"job", "inspect", id})["state"] == "running");
    const auto ended = detach(here, "echo done");
    CHECK(here.run_rnx({"job", "wait", ended}).status == 0);
    CHECK(here.run_rnx({"job", "kill", id}).status == 0);
    CHECK(here.run_rnx({"job", "wait", id}).status == 0);
    // what has ended is there after a restart, with log and exit
    CHECK(here.stop() == 0);
    here.start();
    CHECK(here.run_rnx({"job", "logs", ended}).out == "done\n");
    CHECK(here.json_of({"job", "inspect", ended})["exit"]["code"] == 0);
    CHECK(here.run_rnx({"job", "logs", "--tail", "1", id}).out.starts_with("line "));
    CHECK(here.run_rnx({"job", "prune"}).status == 0);
    CHECK(becomes_true([&here] { return std::filesystem::is_empty(here.root() + "/opt/joblet/jobs"); }));
}

TEST_CASE("a log is bounded, keeps the newest, says what was dropped, and a fast writer is never held up") {
    const Installation here;
    // 40 MB into a log of 1 MiB
    const auto id =
        detach(here, "i=0; while [ $i -lt 40 ]; do head -c 1000000 /dev/zero | tr '\\0' 'x'; echo; i=$((i+1)); done; echo the-end",
               {"--log-max", "1MiB"});
    CHECK(here.run_rnx({"job", "wait", id}, 0, seconds(60)).status == 0);
    const auto logs = here.run_rnx({"job", "logs", id});
    CHECK(logs.out.ends_with("the-end\n"));
    CHECK(logs.out.size() <= 1024 * 1024);
    CHECK(logs.out.size() >= 400 * 1024);
    CHECK_MESSAGE(says(logs, "dropped"), logs.err);
    std::uintmax_t bytes = 0;
    for (const char* const file : {"log.0", "log.1"}) {
        bytes += std::filesystem::file_size(here.root() + "/opt/joblet/jobs/" + id + "/" + file);
    }
    CHECK(bytes <= 1024 * 1024);
    CHECK(here.shell({"-d", "--log-max", "1GiB"}, "true").status == 125); // beyond what broker.toml allows
    CHECK(here.run_rnx({"run", "--log-max", "1MiB", "--", "true"}).status != 0);
}

TEST_CASE("logs -f follows to the end; readers come and go") {
    const Installation here;
    const auto id = detach(here, "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.05; done; exit 4");
    for (int i = 0; i < 3; ++i) {
        Process reader(here.rnx({"job", "logs", "-f", id}));
        CHECK(reader.wait_for_output("line 2"));
        reader.signal(SIGINT);
        reader.wait();
    }
    const auto followed = here.run_rnx({"job", "logs", "--follow", id});
    CHECK(followed.status == 0);
    CHECK(followed.out.starts_with("line 0\n"));
    CHECK(followed.out.ends_with("line 59\n"));
    CHECK(here.json_of({"job", "inspect", id})["exit"]["code"] == 4);
}

TEST_CASE("a full disk under the log costs the log, not the job") {
    Installation::Options options;
    options.jobs_on_tmpfs = "size=2M";
    const Installation here(options);
    here.create("data");
    const auto id = detach(here, "head -c 6000000 /dev/zero | tr '\\0' 'y'; echo finished >/data/f; echo the-end",
                           {"-v", "data:/data", "--log-max", "8MiB"});
    CHECK(here.run_rnx({"job", "wait", id}).status == 0);
    CHECK(here.json_of({"job", "inspect", id})["exit"]["code"] == 0);
    CHECK(here.shell({"-v", "data:/data"}, "cat /data/f").out == "finished\n");
    const auto logs = here.run_rnx({"job", "logs", id});
    CHECK(logs.status == 0);
    CHECK(logs.out.size() > 100'000);
}

TEST_CASE("children that a job leaves behind are reaped while it runs and gone when it ends") {
    const Installation here;
    const auto id = detach(here, "for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.01 &) ; done; (sleep 1000 &); sleep 0.5; cat /proc/[0-9]*/stat "
                                 "2>/dev/null | cut -d' ' -f3 | grep -c Z");
    CHECK(here.run_rnx({"job", "wait", id}).status == 0);
    CHECK(here.run_rnx({"job", "logs", id}).out == "0\n");
    CHECK(becomes_true([&here] { return here.job_groups().empty(); }));
}

TEST_SUITE_END();

} // namespace joblet::testing
