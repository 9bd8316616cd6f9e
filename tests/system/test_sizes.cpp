// How much a volume may hold, changed while it lives, and how much it does hold, as the kernel counts.
#include <doctest/doctest.h>

#include <csignal>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("sizes");

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

Installation::Options with(const std::string& broker_toml) {
    Installation::Options options;
    options.broker_toml = broker_toml;
    return options;
}

Installation::Options on_btrfs() {
    Installation::Options options;
    options.store = {StoreMount::Kind::Btrfs, "512M"};
    return options;
}

bool says(const Outcome& outcome, std::string_view word) {
    return outcome.err.find(word) != std::string::npos;
}

json usage_of(const Installation& here, const std::string& name, uid_t uid = 0) {
    const json all = here.json_of({"volume", "usage", name}, uid);
    REQUIRE(all.size() == 1);
    return all[0];
}

std::uint64_t size_of(const Installation& here, const std::string& name) {
    return here.json_of({"volume", "inspect", name})["size_bytes"].get<std::uint64_t>();
}

// Whether the daemons may grow an image that is mounted: Linux wants CAP_SYS_RESOURCE for it, which some machines give to nobody.
bool grows_online(const Installation& here) {
    const json report = json::parse(here.run_rnx({"doctor", "--format=json"}).out);
    const auto check = std::ranges::find_if(report["checks"], [](const json& one) { return one["subject"] == "image growth"; });
    REQUIRE(check != report["checks"].end());
    return (*check)["ok"];
}

// A job that goes on when it gets SIGUSR1: once, twice.
std::string on_signals(std::string script) {
    for (int number = 1;; ++number) {
        const auto at = script.find("GO;");
        if (at == std::string::npos) {
            return "n=0; trap 'n=$((n+1))' USR1; " + script;
        }
        script.replace(at, 3, fmt::format("until [ $n -ge {} ]; do sleep 0.05; done;", number));
    }
}

constexpr auto kWrite = "dd if=/dev/urandom of=/data/f bs=1k count=1500 2>/dev/null && sync && md5sum </data/f";

} // namespace

TEST_CASE("an image that no job has: larger, smaller, and never smaller than what is in it") {
    const Installation here(with("[volumes]\nbackend = \"image\"\n"));
    here.create("data", "2MiB");
    const std::string sum = here.shell({"-v", "data:/data"}, kWrite).out;
    REQUIRE(!sum.empty());
    const json before = usage_of(here, "data");
    CHECK(before["used_bytes"] >= 1500 * 1024);
    CHECK(before["size_bytes"] >= 2 * kMiB);
    CHECK(before["used_inodes"] == 1);

    REQUIRE(here.run_rnx({"volume", "resize", "data", "--size=12MiB"}).status == 0);
    CHECK(size_of(here, "data") == 12 * kMiB);
    const auto grown = here.shell({"-v", "data:/data"}, "md5sum </data/f; dd if=/dev/zero of=/data/g bs=1k count=10700 2>&1 && echo fits");
    CHECK_MESSAGE(grown.out.starts_with(sum), grown.out);
    CHECK_MESSAGE(grown.out.ends_with("fits\n"), grown.out);

    const auto refused = here.run_rnx({"volume", "resize", "data", "--size=4MiB"});
    CHECK(refused.status == 1);
    CHECK_MESSAGE(says(refused, "4.0 MiB"), refused.err);
    CHECK(size_of(here, "data") == 12 * kMiB);
    CHECK(here.shell({"-v", "data:/data"}, "md5sum </data/f; rm /data/g").out == sum);

    REQUIRE(here.run_rnx({"volume", "resize", "data", "--size=4MiB"}).status == 0);
    CHECK(size_of(here, "data") == 4 * kMiB);
    here.kill_daemons("joblet-broker");
    CHECK(size_of(here, "data") == 4 * kMiB);
    const auto shrunk =
        here.shell({"-v", "data:/data"}, "md5sum </data/f; dd if=/dev/zero of=/data/g bs=1k count=8000 2>/dev/null || echo held");
    CHECK_MESSAGE(shrunk.out == sum + "held\n", shrunk.out);
    CHECK(here.run_rnx({"volume", "remove", "--now", "--wait", "data"}).status == 0);
    CHECK(here.loops().empty());
}

TEST_CASE("an image that a job has grows if the daemons may ask for it, and is refused with the reason if not; it never shrinks") {
    const Installation here(with("[volumes]\nbackend = \"image\"\n"));
    here.create("data", "2MiB");
    Process job(here.shell_command({"-v", "data:/data"},
                                   on_signals("echo started; GO; dd if=/dev/zero of=/data/f bs=1k count=6000 2>/dev/null && echo fits; "
                                              "sleep 30")));
    REQUIRE(job.wait_for_output("started"));
    CHECK(usage_of(here, "data")["used_inodes"] == 0);
    const auto smaller = here.run_rnx({"volume", "resize", "data", "--size=1MiB"});
    CHECK(smaller.status == 1);
    CHECK_MESSAGE(says(smaller, "job"), smaller.err);
    const auto larger = here.run_rnx({"volume", "resize", "data", "--size=8MiB"});
    if (grows_online(here)) {
        REQUIRE_MESSAGE(larger.status == 0, larger.err);
        job.signal(SIGUSR1);
        CHECK(job.wait_for_output("fits"));
    } else {
        CHECK(larger.status == 1);
        CHECK_MESSAGE(says(larger, "CAP_SYS_RESOURCE"), larger.err);
        CHECK(size_of(here, "data") == 2 * kMiB);
    }
    job.signal(SIGTERM);
    (void)job.wait();
    REQUIRE(here.run_rnx({"volume", "resize", "data", "--size=8MiB"}).status == 0);
    CHECK(here.shell({"-v", "data:/data"}, "dd if=/dev/zero of=/data/g bs=1k count=1000 2>/dev/null && echo writes").out == "writes\n");
}

TEST_CASE("a btrfs volume grows and shrinks under a running job, but not below what is in it") {
    const Installation here(on_btrfs());
    here.create("data", "8MiB");
    REQUIRE(here.json_of({"volume", "inspect", "data"})["backend"] == "btrfs");
    Process job(here.shell_command({"-v", "data:/data"},
                                   on_signals("dd if=/dev/urandom of=/data/f bs=1M count=6 2>/dev/null; sync; echo started; GO; "
                                              "dd if=/dev/urandom of=/data/g bs=1M count=20 2>/dev/null && sync && echo fits; GO; true")));
    REQUIRE(job.wait_for_output("started"));
    const json used = usage_of(here, "data");
    CHECK(used["used_bytes"] >= 6 * kMiB);
    CHECK(used["used_bytes"] < 8 * kMiB);
    CHECK(used["inodes"].is_null());
    const auto refused = here.run_rnx({"volume", "resize", "data", "--size=4MiB"});
    CHECK(refused.status == 1);
    CHECK_MESSAGE(says(refused, "6."), refused.err); // what it holds
    CHECK(size_of(here, "data") == 8 * kMiB);
    CHECK(usage_of(here, "data")["size_bytes"] == used["size_bytes"]);
    REQUIRE(here.run_rnx({"volume", "resize", "data", "--size=40MiB"}).status == 0);
    job.signal(SIGUSR1);
    CHECK(job.wait_for_output("fits"));
    REQUIRE(here.run_rnx({"volume", "resize", "data", "--size=32MiB"}).status == 0);
    job.signal(SIGUSR1);
    CHECK(job.wait().status == 0);
    here.kill_daemons("joblet-broker");
    CHECK(size_of(here, "data") == 32 * kMiB);
    const auto held = here.shell({"-v", "data:/data"}, "dd if=/dev/urandom of=/data/h bs=1M count=10 2>/dev/null || echo held");
    CHECK_MESSAGE(held.out == "held\n", held.out);
    const auto inodes = here.run_rnx({"volume", "resize", "data", "--inodes=100"});
    CHECK(inodes.status == 1);
}

TEST_CASE("a memory volume grows and shrinks where a job has it, within what its owner may have attached") {
    const Installation here(with("[limits]\nmemory_size = \"16MiB\"\n"));
    here.create("cache", "2MiB", "memory");
    const json idle = usage_of(here, "cache");
    CHECK(idle["used_bytes"] == 0);
    Process job(here.shell_command({"-v", "cache:/data"},
                                   on_signals("dd if=/dev/zero of=/data/f bs=1k count=1800 2>/dev/null; echo started; GO; "
                                              "dd if=/dev/zero of=/data/g bs=1M count=5 2>/dev/null && echo fits; GO; true")));
    REQUIRE(job.wait_for_output("started"));
    const json used = usage_of(here, "cache");
    CHECK(used["used_bytes"] >= 1800 * 1024);
    CHECK(used["size_bytes"] == 2 * kMiB);
    const auto beyond = here.run_rnx({"volume", "resize", "cache", "--size=20MiB"});
    CHECK(beyond.status == 1);
    CHECK_MESSAGE(says(beyond, "16.0 MiB"), beyond.err);
    const auto smaller = here.run_rnx({"volume", "resize", "cache", "--size=1MiB"});
    CHECK(smaller.status == 1);
    CHECK(size_of(here, "cache") == 2 * kMiB);
    REQUIRE(here.run_rnx({"volume", "resize", "cache", "--size=8MiB", "--inodes=2000"}).status == 0);
    CHECK(usage_of(here, "cache")["size_bytes"] == 8 * kMiB);
    CHECK(usage_of(here, "cache")["inodes"] >= 2000);
    job.signal(SIGUSR1);
    CHECK(job.wait_for_output("fits"));
    // what is attached is charged as it is now
    here.create("other", "12MiB", "memory");
    CHECK(here.shell({"-v", "other"}, "true").status == 125);
    job.signal(SIGUSR1);
    CHECK(job.wait().status == 0);
    CHECK(here.shell({"-v", "other"}, "true").status == 0);
    const auto again = here.shell({"-v", "cache:/data"}, "dd if=/dev/zero of=/data/f bs=1M count=7 2>/dev/null && echo fits");
    CHECK_MESSAGE(again.out == "fits\n", again.err);
}

TEST_CASE("a volume is measured by its owner and by admins who say so; all of one's own, without a name") {
    const Installation here;
    here.create("one", "1MiB", "filesystem", kAlice);
    here.create("two", "1MiB", "memory", kAlice);
    const json all = here.json_of({"volume", "usage"}, kAlice);
    REQUIRE(all.size() == 2);
    CHECK(all[0]["name"] == "one");
    CHECK(all[1]["name"] == "two");
    CHECK(here.json_of({"volume", "usage"}, kBob).empty());
    CHECK(here.run_rnx({"volume", "usage", "one"}, kBob).status == 1);
    CHECK(here.run_rnx({"volume", "usage", "one"}).status == 1);
    CHECK(here.json_of({"volume", "usage", "one", "--user", std::to_string(kAlice)}).size() == 1);
    CHECK(here.run_rnx({"volume", "resize", "one", "--size=2MiB"}, kBob).status == 1);
}

TEST_CASE("what cannot be is refused with its reason, and nothing changes") {
    const Installation here(with("[volumes]\nbackend = \"image\"\n[limits]\ntotal_size = \"8MiB\"\nlargest_volume = \"6MiB\"\n"));
    here.create("data", "2MiB", "filesystem", kAlice);
    here.create("other", "2MiB", "memory", kAlice);
    const json before = here.json_of({"volume", "inspect", "data"}, kAlice);
    struct Row {
        Words options;
        const char* reason;
    };
    for (const auto& [options, reason] : {
             Row{{"--size=0"}, "size"},
             Row{{"--size=99999999999TB"}, "size"},
             Row{{"--size=512K"}, "1"},
             Row{{"--size=7MiB"}, "6.0 MiB"},
             Row{{"--size=3MiB", "--soft-size=3MiB"}, "soft"},
             Row{{"--soft-size=1MiB"}, "project"},
             Row{{"--inodes=5000000"}, "inodes"},
             Row{{"--inodes=100"}, ""},
             Row{{}, "size"},
         }) {
        Words words = {"volume", "resize", "data"};
        words.insert(words.end(), options.begin(), options.end());
        const auto refused = here.run_rnx(words, kAlice);
        CAPTURE(fmt::format("{}", fmt::join(words, " ")));
        CHECK(refused.status != 0);
        CHECK_MESSAGE(says(refused, reason), refused.err);
    }
    const auto sum = here.run_rnx({"volume", "resize", "other", "--size=6.5MiB"}, kAlice);
    CHECK(sum.status == 1);
    CHECK(here.json_of({"volume", "inspect", "data"}, kAlice) == before);
    CHECK(here.run_rnx({"volume", "resize", "missing", "--size=2MiB"}, kAlice).status == 1);
    REQUIRE(here.run_rnx({"volume", "resize", "data", "--size=6MiB"}, kAlice).status == 0);
    const auto charged = here.run_rnx({"volume", "create", "third", "--size=1MiB"}, kAlice);
    CHECK(charged.status == 1);
    CHECK_MESSAGE(says(charged, "8.0 MiB"), charged.err);
    REQUIRE(here.run_rnx({"volume", "resize", "data", "--size=2MiB"}, kAlice).status == 0);
    here.create("third", "1MiB", "filesystem", kAlice);
}

TEST_CASE("resizes, jobs and removals at the same time: each is done or refused, and the last word counts") {
    const Installation here(with("[volumes]\nbackend = \"image\"\n"));
    here.create("data", "2MiB");
    const int rounds = std::getenv("JOBLET_TEST_LONG") != nullptr ? 40 : 4;
    for (int round = 0; round < rounds; ++round) {
        Process first(here.rnx({"volume", "resize", "data", "--size=4MiB"}));
        Process second(here.rnx({"volume", "resize", "data", "--size=3MiB"}));
        Process job(here.shell_command({"-v", "data:/data"}, "echo x >>/data/f"));
        for (Process* one : {&first, &second}) {
            const auto ended = one->wait();
            CHECK_MESSAGE((ended.status == 0 || says(ended, "job") || says(ended, "CAP_SYS_RESOURCE")), ended.err);
        }
        const auto ran = job.wait();
        CHECK_MESSAGE(ran.status == 0, ran.err);
    }
    const auto lines = here.shell({"-v", "data:/data"}, "wc -l </data/f");
    CHECK_MESSAGE(lines.out == fmt::format("{}\n", rounds), lines.out);
    const std::uint64_t size = size_of(here, "data");
    CHECK((size == 2 * kMiB || size == 3 * kMiB || size == 4 * kMiB));
    CHECK(usage_of(here, "data")["size_bytes"] >= size);
    CHECK(std::filesystem::is_empty(here.state() + "/staging"));
}

TEST_SUITE_END();

} // namespace joblet::testing
