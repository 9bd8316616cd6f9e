// Names, ids and labels: what a volume can be called by, and what happens when several want the same.
#include <doctest/doctest.h>

#include <csignal>

#include <algorithm>
#include <filesystem>
#include <random>

#include <fmt/format.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("naming");

namespace {

bool says(const Outcome& outcome, std::string_view word) {
    return outcome.err.find(word) != std::string::npos;
}

std::vector<std::string> names_of(const json& list) {
    std::vector<std::string> names;
    for (const auto& volume : list) {
        names.push_back(volume["name"]);
    }
    return names;
}

} // namespace

TEST_CASE("labels are set at create and later, shown, filtered by, and outlive a lost database") {
    const Installation here;
    REQUIRE(here.run_rnx({"volume", "create", "a", "--size=1MiB", "--label", "team=red", "--label=stage=prod"}).status == 0);
    REQUIRE(here.run_rnx({"volume", "create", "b", "--size=1MiB", "--type=memory", "--label", "team=red"}).status == 0);
    REQUIRE(here.run_rnx({"volume", "create", "c", "--size=1MiB", "--type=memory"}).status == 0);
    REQUIRE(here.run_rnx({"volume", "label", "b", "stage=", "team=blue", "x.y/z=a b=c"}).status == 0);
    REQUIRE(here.run_rnx({"volume", "label", "a", "stage-", "never-there-"}).status == 0);
    const json expected_b = {{"stage", ""}, {"team", "blue"}, {"x.y/z", "a b=c"}};
    const auto check_all = [&] {
        CHECK(here.json_of({"volume", "inspect", "a"})["labels"] == json{{"team", "red"}});
        CHECK(here.json_of({"volume", "inspect", "b"})["labels"] == expected_b);
        CHECK(names_of(here.json_of({"volume", "list", "--filter", "team"})) == std::vector<std::string>{"a", "b"});
        CHECK(names_of(here.json_of({"volume", "list", "--filter", "team=red"})) == std::vector<std::string>{"a"});
        CHECK(names_of(here.json_of({"volume", "list", "--filter", "team=blue", "--filter", "stage="})) == std::vector<std::string>{"b"});
        CHECK(here.json_of({"volume", "list", "--filter", "team=blue", "--filter", "team=red"}).empty());
        CHECK(names_of(here.json_of({"volume", "list", "--type", "memory"})) == std::vector<std::string>{"b", "c"});
        CHECK(here.json_of({"volume", "list", "--status", "in_use"}).empty());
    };
    check_all();
    for (const pid_t api : here.daemons("joblet-api")) {
        ::kill(api, SIGSTOP); // it must not write while its files go
        for (const char* const file : {"joblet.db", "joblet.db-wal", "joblet.db-shm"}) {
            std::filesystem::remove(here.state() + "/api/" + file);
        }
        ::kill(api, SIGKILL);
    }
    REQUIRE(here.wait_ready());
    check_all();
    here.kill_daemons("joblet-broker");
    check_all();
}

TEST_CASE("labels that cannot be are refused, and those that were stay") {
    const Installation here;
    REQUIRE(here.run_rnx({"volume", "create", "a", "--size=1MiB", "--type=memory", "--label=k=v"}).status == 0);
    const std::string long_value(256, 'x');
    for (const auto& words :
         {Words{"k"}, Words{"=v"}, Words{"-"}, Words{"k\n=v"}, Words{"k=a\tb"}, Words{"k=\xff\xfe"}, Words{" k=v"},
          Words{"k=" + long_value}, Words{std::string(64, 'k') + "=v"}, Words{"k=1", "k=2"}, Words{"k=1", "k-"}, Words{}}) {
        CAPTURE(words);
        Words all = {"volume", "label", "a"};
        all.insert(all.end(), words.begin(), words.end());
        const auto refused = here.run_rnx(all);
        CHECK(refused.status != 0);
        CHECK_FALSE(refused.err.empty());
    }
    Words many = {"volume", "label", "a"};
    for (int i = 0; i < 17; ++i) {
        many.push_back(fmt::format("key{}={}", i, std::string(250, 'x')));
    }
    const auto too_long = here.run_rnx(many);
    CHECK(too_long.status == 1);
    CHECK(says(too_long, "4096"));
    CHECK(here.run_rnx({"volume", "create", "b", "--size=1MiB", "--label=k=1", "--label=k=2"}).status != 0);
    CHECK(here.run_rnx({"volume", "create", "b", "--size=1MiB", "--label=k"}).status != 0);
    CHECK(here.json_of({"volume", "inspect", "a"})["labels"] == json{{"k", "v"}});
    CHECK(here.json_of({"volume", "list"}).size() == 1);
}

TEST_CASE("label changes at the same time all count") {
    const Installation here;
    here.create("a", "1MiB", "memory");
    constexpr int kChanges = 12;
    std::vector<Process> changes;
    changes.reserve(kChanges);
    for (int i = 0; i < kChanges; ++i) {
        changes.emplace_back(here.rnx({"volume", "label", "a", fmt::format("k{}={}", i, i)}));
    }
    for (auto& change : changes) {
        CHECK(change.wait().status == 0);
    }
    CHECK(here.json_of({"volume", "inspect", "a"})["labels"].size() == 12);
}

TEST_CASE("a renamed volume is the same volume under another name, also after a restart") {
    const Installation here;
    here.create("old");
    here.create("other", "1MiB", "memory");
    REQUIRE(here.shell({"-v", "old:/data"}, "echo kept >/data/f").status == 0);
    const std::string id = here.json_of({"volume", "inspect", "old"})["id"];
    const auto taken = here.run_rnx({"volume", "rename", "old", "other"});
    CHECK(taken.status == 1);
    CHECK(says(taken, "other"));
    CHECK(here.run_rnx({"volume", "rename", "old", "../x"}).status != 0);
    CHECK(here.run_rnx({"volume", "rename", "old", "old"}).status == 0);
    REQUIRE(here.run_rnx({"volume", "rename", "old", "new"}).status == 0);
    CHECK(here.run_rnx({"volume", "inspect", "old"}).status == 1);
    CHECK(here.json_of({"volume", "inspect", "new"})["id"] == id);
    CHECK(here.shell({"-v", "new:/data"}, "cat /data/f /volumes/new/f").out == "kept\nkept\n");
    here.kill_daemons("joblet-broker");
    CHECK(here.json_of({"volume", "inspect", "new"})["id"] == id);
    CHECK(here.shell({"-v", "new:/data"}, "cat /data/f").out == "kept\n");
    Process job(here.shell_command({"-v", "new"}, "echo started; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    const auto busy = here.run_rnx({"volume", "rename", "new", "newer"});
    CHECK(busy.status == 1);
    CHECK(says(busy, "in use"));
    job.signal(SIGTERM);
    job.wait();
    CHECK(here.run_rnx({"volume", "rename", "new", "newer"}).status == 0);
}

TEST_CASE("an id and any unambiguous beginning of it goes wherever a name does") {
    const Installation here;
    here.create("data");
    const std::string id = here.json_of({"volume", "inspect", "data"})["id"];
    for (const auto& word : {id, id.substr(0, 8), id.substr(0, 20)}) {
        CAPTURE(word);
        CHECK(here.json_of({"volume", "inspect", word})["name"] == "data");
        CHECK(here.run_rnx({"volume", "label", word, "k=v"}).status == 0);
        CHECK(here.run_rnx({"volume", "protect", word}).status == 0);
        CHECK(here.run_rnx({"volume", "unprotect", word}).status == 0);
        CHECK(here.shell({"-v", word + ":/data"}, "touch /data/f").status == 0);
    }
    CHECK(here.run_rnx({"volume", "inspect", id.substr(0, 7)}).status == 1);
    REQUIRE(here.run_rnx({"volume", "rename", id.substr(0, 8), "renamed"}).status == 0);
    // a name that looks like the beginning of another's id is a name first
    here.create(id.substr(0, 8), "1MiB", "memory");
    CHECK(here.json_of({"volume", "inspect", id.substr(0, 8)})["type"] == "memory");
    CHECK(here.run_rnx({"volume", "remove", id.substr(0, 9)}).status == 0);
    CHECK(here.json_of({"volume", "list"}).size() == 1);
}

TEST_CASE("clients that create, rename and remove the same names at once leave one truth") {
    const Installation here;
    const int rounds = std::getenv("JOBLET_TEST_LONG") != nullptr ? 60 : 6;
    std::mt19937 random(20);
    MESSAGE("seed 20");
    for (int round = 0; round < rounds; ++round) {
        std::vector<Process> racing;
        for (int i = 0; i < 8; ++i) {
            const std::string a = random() % 2 == 0 ? "x" : "y";
            switch (random() % 4) {
            case 0:
                racing.emplace_back(here.rnx({"volume", "create", a, "--size=1MiB", "--type=memory"}));
                break;
            case 1:
                racing.emplace_back(here.rnx({"volume", "create", a, "--size=1MiB"}));
                break;
            case 2:
                racing.emplace_back(here.rnx({"volume", "rename", a, a == "x" ? "y" : "x"}));
                break;
            default:
                racing.emplace_back(here.rnx({"volume", "remove", a}));
            }
        }
        for (auto& one : racing) {
            const int status = one.wait().status;
            CHECK((status == 0 || status == 1));
        }
        // What the API says, what a new API says, and what a new broker reads from the disk are the same
        const json before = here.json_of({"volume", "list"});
        auto names = names_of(before);
        CHECK(std::ranges::adjacent_find(names) == names.end());
        if (round % 3 == 0) {
            here.kill_daemons("joblet-broker");
            CHECK(here.json_of({"volume", "list"}) == before);
        }
        const auto on_disk = std::filesystem::directory_iterator(here.state() + "/volumes");
        CHECK(static_cast<std::size_t>(std::distance(begin(on_disk), end(on_disk))) == before.size());
    }
}

TEST_CASE("a different volume of the same name is a conflict that lists each difference") {
    const Installation here;
    REQUIRE(here.run_rnx({"volume", "create", "a", "--size=2MiB", "--inodes=512", "--backend=image"}).status == 0);
    CHECK(here.run_rnx({"volume", "create", "a", "--size=2MiB", "--inodes=512"}).status == 0);
    const auto all = here.run_rnx({"volume", "create", "a", "--size=3MiB", "--inodes=256", "--type=memory", "--backend=tmpfs"});
    CHECK(all.status == 1);
    for (const char* const word : {"size", "inodes", "type", "backend"}) {
        CAPTURE(word);
        CHECK_MESSAGE(says(all, word), all.err);
    }
    // what cannot be meant is refused before anything happens
    CHECK(here.run_rnx({"volume", "create", "b", "--size=1MiB", "--type=memory", "--backend=image"}).status != 0);
    CHECK(here.run_rnx({"volume", "create", "b", "--size=1MiB", "--type=filesystem", "--backend=tmpfs"}).status != 0);
    CHECK(here.run_rnx({"volume", "list", "--all-users", "--user=1"}).status != 0);
    CHECK(here.run_rnx({"volume", "list", "--trash", "--status=available"}).status != 0);
    CHECK(here.json_of({"volume", "list"}).size() == 1);
}

TEST_SUITE_END();

} // namespace joblet::testing
