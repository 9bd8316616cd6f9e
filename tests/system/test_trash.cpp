// Removing: refused where it must be, by force, into the trash and back, protected, and for good.
#include <doctest/doctest.h>

#include <csignal>

#include <filesystem>

#include <fmt/format.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("trash");

namespace {

Installation::Options with(const std::string& broker_toml) {
    Installation::Options options;
    options.broker_toml = broker_toml;
    return options;
}

bool says(const Outcome& outcome, std::string_view word) {
    return outcome.err.find(word) != std::string::npos;
}

std::size_t entries(const std::string& directory) {
    const std::filesystem::directory_iterator all(directory);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

} // namespace

TEST_CASE("what was removed can be brought back until its time is over, is charged until then, and its name is free") {
    const Installation here(with("[limits]\ntotal_size = \"8MiB\"\n[volumes]\ntrash_retention = \"1h\"\n"));
    here.create("data", "4MiB", "filesystem", kAlice);
    REQUIRE(here.run_rnx({"volume", "label", "data", "k=v"}, kAlice).status == 0);
    REQUIRE(here.shell({"-v", "data:/data"}, "echo kept >/data/f", kAlice).status == 0);
    REQUIRE(here.run_rnx({"volume", "remove", "data"}, kAlice).status == 0);
    CHECK(here.json_of({"volume", "list"}, kAlice).empty());
    const json trash = here.json_of({"volume", "list", "--trash"}, kAlice);
    REQUIRE(trash.size() == 1);
    CHECK(trash[0]["status"] == "trashed");
    CHECK(trash[0]["trashed_until"].is_string());
    CHECK(here.json_of({"volume", "list", "--trash"}, kBob).empty());
    CHECK(here.run_rnx({"volume", "restore", "data"}, kBob).status == 1);
    CHECK(here.shell({"-v", trash[0]["id"].get<std::string>()}, "true", kAlice).status == 125);

    // still charged
    const auto refused = here.run_rnx({"volume", "create", "more", "--size=5MiB"}, kAlice);
    CHECK(refused.status == 1);
    CHECK_MESSAGE(says(refused, "4.0 MiB"), refused.err);
    // the name is free, and then taken
    here.create("data", "1MiB", "memory", kAlice);
    const auto taken = here.run_rnx({"volume", "restore", "data"}, kAlice);
    CHECK(taken.status == 1);
    CHECK_MESSAGE(says(taken, "--as"), taken.err);
    here.kill_daemons("joblet-broker");
    CHECK(here.json_of({"volume", "list", "--trash"}, kAlice) == trash);
    REQUIRE(here.run_rnx({"volume", "restore", "data", "--as", "again"}, kAlice).status == 0);
    const json again = here.json_of({"volume", "inspect", "again"}, kAlice);
    CHECK(again["id"] == trash[0]["id"]);
    CHECK(again["labels"] == json{{"k", "v"}});
    CHECK(again["trashed_until"].is_null());
    CHECK(here.shell({"-v", "again:/data"}, "cat /data/f", kAlice).out == "kept\n");
    here.kill_daemons("joblet-broker");
    CHECK(here.json_of({"volume", "list", "--trash"}, kAlice).empty());
    CHECK(here.shell({"-v", "again:/data"}, "cat /data/f", kAlice).out == "kept\n");
    CHECK(here.run_rnx({"volume", "restore", "again"}, kAlice).status == 1);
}

TEST_CASE("what is asked to go now goes now, from the trash too; memory volumes are never kept") {
    const Installation here(with("[volumes]\ntrash_retention = \"1h\"\n"));
    here.create("now");
    here.create("later");
    here.create("memory", "1MiB", "memory");
    const std::string later = here.json_of({"volume", "inspect", "later"})["id"];
    REQUIRE(here.run_rnx({"volume", "remove", "--now", "now"}).status == 0);
    REQUIRE(here.run_rnx({"volume", "remove", "later", "memory"}).status == 0);
    CHECK(here.json_of({"volume", "list", "--trash"}).size() == 1);
    CHECK(becomes_true([&here] { return entries(here.state() + "/trash") == 1; }));
    CHECK(here.run_rnx({"volume", "remove", later}).status == 1); // it is in the trash already
    CHECK(here.run_rnx({"volume", "remove", "--now", later}).status == 0);
    CHECK(here.json_of({"volume", "list", "--trash"}).empty());
    CHECK(becomes_true([&here] { return entries(here.state() + "/trash") == 0; }));
}

TEST_CASE("the cleaner empties the trash when the time is over, also when it was over while nobody ran") {
    {
        const Installation here(with("[volumes]\ntrash_retention = \"2s\"\ncleaner_interval = \"1s\"\n"));
        here.create("data");
        REQUIRE(here.run_rnx({"volume", "remove", "data"}).status == 0);
        CHECK(here.json_of({"volume", "list", "--trash"}).size() == 1);
        CHECK(becomes_true([&here] { return here.json_of({"volume", "list", "--trash"}).empty(); }));
        CHECK(becomes_true([&here] { return entries(here.state() + "/trash") == 0; }));
    }
    Installation here(with("[volumes]\ntrash_retention = \"3s\"\n"));
    here.create("data");
    REQUIRE(here.run_rnx({"volume", "remove", "data"}).status == 0);
    CHECK(here.stop() == 0);
    std::this_thread::sleep_for(seconds(4));
    CHECK(entries(here.state() + "/trash") == 1);
    here.start();
    CHECK(becomes_true([&here] { return entries(here.state() + "/trash") == 0; }));
    CHECK(here.json_of({"volume", "list", "--trash"}).empty());
}

TEST_CASE("a shorter retention does not shorten what was promised") {
    Installation here(with("[volumes]\ntrash_retention = \"1h\"\n"));
    here.create("data");
    REQUIRE(here.run_rnx({"volume", "remove", "data"}).status == 0);
    CHECK(here.stop() == 0);
    write_file(here.root() + "/etc/joblet/broker.toml", "[volumes]\ntrash_retention = \"1s\"\n");
    here.start();
    std::this_thread::sleep_for(seconds(2));
    CHECK(here.run_rnx({"volume", "restore", "data"}).status == 0);
}

TEST_CASE("a protected volume is removed by nobody, not by force and not by root") {
    const Installation here;
    here.create("data", "1MiB", "filesystem", kAlice);
    REQUIRE(here.run_rnx({"volume", "protect", "data"}, kAlice).status == 0);
    CHECK(here.json_of({"volume", "inspect", "data"}, kAlice)["protected"] == true);
    const auto check_refused = [](const Outcome& refused) {
        CHECK(refused.status == 1);
        CHECK_MESSAGE(says(refused, "protected"), refused.err);
    };
    check_refused(here.run_rnx({"volume", "remove", "data"}, kAlice));
    check_refused(here.run_rnx({"volume", "remove", "--force", "--now", "data"}, kAlice));
    check_refused(here.run_rnx({"volume", "remove", "--force", "--user", std::to_string(kAlice), "data"}));
    here.kill_daemons("joblet-broker");
    check_refused(here.run_rnx({"volume", "remove", "data"}, kAlice));
    CHECK(here.run_rnx({"volume", "unprotect", "data"}, kBob).status == 1);
    REQUIRE(here.run_rnx({"volume", "unprotect", "--user", std::to_string(kAlice), "data"}).status == 0);
    CHECK(here.json_of({"volume", "inspect", "data"}, kAlice)["protected"] == false);
    CHECK(here.run_rnx({"volume", "remove", "data"}, kAlice).status == 0);
}

TEST_CASE("every job that holds a volume is named; by force it goes, and what a job has open stays") {
    const Installation here;
    here.create("data");
    REQUIRE(here.shell({"-v", "data:/data"}, "echo kept >/data/f").status == 0);
    const std::string script = "exec 3</data/f; echo started; until [ ! -e /volumes/data ]; do sleep 0.05; done; "
                               "ls /data | wc -l; cat <&3; echo gone; sleep 30";
    Process first(here.shell_command({"-v", "data:/data:ro"}, script));
    Process second(here.shell_command({"-v", "data:/data:ro"}, script));
    REQUIRE(first.wait_for_output("started"));
    REQUIRE(second.wait_for_output("started"));
    const auto refused = here.run_rnx({"volume", "remove", "data"});
    CHECK(refused.status == 1);
    CHECK(here.job_groups().size() == 2);
    for (const auto& id : here.job_groups()) {
        CHECK_MESSAGE(says(refused, id), refused.err);
    }
    REQUIRE(here.run_rnx({"volume", "remove", "--force", "data"}).status == 0);
    CHECK(here.run_rnx({"volume", "inspect", "data"}).status == 1);
    for (Process* job : {&first, &second}) {
        CHECK(job->wait_for_output("0\nkept\ngone"));
        job->signal(SIGTERM);
        CHECK(job->wait().status == 143);
    }
    CHECK(becomes_true([&here] { return entries(here.state() + "/trash") == 0; }));
}

TEST_CASE("several names: each is reported, and one that failed makes the whole fail") {
    const Installation here;
    here.create("a", "1MiB", "memory");
    here.create("b", "1MiB", "memory");
    const auto outcome = here.run_rnx({"volume", "remove", "a", "missing", "b"});
    CHECK(outcome.status == 1);
    CHECK(says(outcome, "missing"));
    CHECK(here.json_of({"volume", "list"}).empty());
    const auto inspected = here.run_rnx({"volume", "inspect", "missing"});
    CHECK(inspected.status == 1);
}

TEST_CASE("removal while a job starts: one of them wins, and nothing is left") {
    const Installation here;
    const int rounds = std::getenv("JOBLET_TEST_LONG") != nullptr ? 60 : 8;
    for (int round = 0; round < rounds; ++round) {
        CAPTURE(round);
        here.create("data");
        const bool forced = round % 2 == 0;
        Process job(here.shell_command({"-v", "data:/data"}, "true"));
        std::this_thread::sleep_for(milliseconds(round * 3 % 25));
        const auto removed = here.run_rnx(forced ? Words{"volume", "remove", "--force", "data"} : Words{"volume", "remove", "data"});
        const auto ended = job.wait();
        CHECK_MESSAGE((ended.status == 0 || ended.status == 125), ended.err);
        CHECK_MESSAGE((removed.status == 0 || says(removed, "in use")), removed.err);
        if (removed.status != 0) {
            CHECK(here.run_rnx({"volume", "remove", "data"}).status == 0);
        }
    }
    CHECK(becomes_true([&here] { return entries(here.state() + "/trash") == 0 && entries(here.state() + "/volumes") == 0; }));
}

TEST_CASE("a volume with many files and one with a thousand levels go without holding anything up") {
    const Installation here;
    const int files = std::getenv("JOBLET_TEST_LONG") != nullptr ? 1'000'000 : 20'000;
    REQUIRE(here.run_rnx({"volume", "create", "wide", "--size=1GiB", fmt::format("--inodes={}", files + 1000)}).status == 0);
    here.create("deep", "16MiB");
    REQUIRE(here.shell({"-v", "wide:/data"}, fmt::format("cd /data; seq {} | xargs touch", files), 0, seconds(300)).status == 0);
    REQUIRE(here.shell({"-v", "deep:/data"}, "cd /data; i=0; while [ $i -lt 1000 ]; do mkdir d; cd -P d; i=$((i+1)); done").status == 0);
    REQUIRE(here.run_rnx({"volume", "remove", "wide", "deep"}).status == 0);
    here.create("next", "1MiB", "memory");
    CHECK(here.shell({"-v", "next"}, "true").status == 0);
    CHECK(becomes_true([&here] { return entries(here.state() + "/trash") == 0; }));
}

TEST_CASE("a crash in the middle of a removal is finished after it") {
    Installation here(with("[volumes]\ntrash_retention = \"1h\"\n"));
    here.create("data");
    const std::string id = here.json_of({"volume", "inspect", "data"})["id"];
    CHECK(here.stop() == 0);
    // as if it had been renamed, to go at once, and the host had gone down
    std::filesystem::rename(here.state() + "/volumes/" + id, here.state() + "/trash/" + id);
    const std::string emptied = here.state() + "/trash/" + std::string(32, '1');
    std::filesystem::create_directory(emptied);
    std::filesystem::permissions(emptied, std::filesystem::perms(0700));
    here.start();
    CHECK(here.json_of({"volume", "list"}).empty());
    CHECK(becomes_true([&here] { return entries(here.state() + "/trash") == 0; }));
}

TEST_SUITE_END();

} // namespace joblet::testing
