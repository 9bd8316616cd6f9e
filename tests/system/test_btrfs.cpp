// A store on btrfs: subvolumes under a qgroup's limit, which the kernel holds and a job cannot leave.
#include <doctest/doctest.h>

#include <csignal>

#include <filesystem>

#include <fmt/format.h>

#include "tests/guest/expectations.h"
#include "tests/system/vm_parts.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("btrfs");

namespace {

Installation::Options on_btrfs(const std::string& broker_toml = {}, StoreMount::Kind kind = StoreMount::Kind::Btrfs) {
    Installation::Options options;
    options.broker_toml = broker_toml;
    options.store = {kind, "512M"};
    return options;
}

bool is_empty(const std::string& directory) {
    return std::filesystem::is_empty(directory);
}

} // namespace

TEST_CASE("auto takes btrfs where the store can hold it; what was asked for can be written, and no more") {
    const Installation here(on_btrfs());
    here.create("data", "16MiB", "filesystem", kAlice);
    CHECK(here.json_of({"volume", "inspect", "data"}, kAlice)["backend"] == "btrfs");
    const auto full = here.shell({"-v", "data:/data"}, "dd if=/dev/urandom of=/data/f bs=1M count=16 2>&1 && sync && echo fits", kAlice);
    CHECK_MESSAGE(full.out.find("fits") != std::string::npos, full.out);
    const auto beyond =
        here.shell({"-v", "data:/data"}, "dd if=/dev/urandom of=/data/g bs=1M count=8; echo $?; du -sm /data | cut -f1", kAlice);
    CHECK_MESSAGE((says(beyond, "quota exceeded") || says(beyond, "No space left")), beyond.err);
    CHECK(here.shell({"-v", "data:/data"},
                     "rm /data/f /data/g; sync; dd if=/dev/urandom of=/data/h bs=1M count=12 2>/dev/null && echo again", kAlice)
              .out == "again\n");
    // programs run from it, and readers share it
    const auto runs = here.shell({"-v", "data:/data"}, "rm /data/h; sync; cp /bin/busybox /data/busybox; /data/busybox echo runs", kAlice);
    CHECK_MESSAGE(runs.out == "runs\n", runs.err);
    Process reader(here.shell_command({"-v", "data:/data:ro"}, "echo started; sleep 30", kAlice));
    REQUIRE(reader.wait_for_output("started"));
    const auto reads = here.shell({"-v", "data:/data:ro"}, "/data/busybox echo reads; touch /data/x", kAlice);
    CHECK_MESSAGE(reads.out == "reads\n", reads.err);
    CHECK(here.shell({"-v", "data:/data"}, "true", kAlice).status == 125);
    reader.signal(SIGTERM);
    CHECK(reader.wait().status == 143);
    // the owner on disk is nobody's uid
    const std::string id = here.json_of({"volume", "inspect", "data"}, kAlice)["id"];
    const auto owner = run({{"/usr/bin/stat", "-c", "%u %a", here.state() + "/volumes/" + id + "/subvolume/data/busybox"}});
    CHECK_MESSAGE(owner.out.starts_with("2147352576 "), owner.out);
    CHECK(run({{"/usr/bin/stat", "-c", "%u %a", here.state() + "/volumes/" + id + "/subvolume"}}).out == "0 700\n");
}

TEST_CASE("a limit above what the device has would be none: refused, and nothing changes") {
    const Installation here(on_btrfs());
    const auto refused = here.run_rnx({"volume", "create", "data", "--size=10GiB"});
    CHECK(refused.status == 1);
    CHECK_MESSAGE(refused.err.find("no room") != std::string::npos, refused.err);
    CHECK(here.json_of({"volume", "list"}).empty());
    here.create("data", "4MiB");
    CHECK(here.run_rnx({"volume", "resize", "data", "--size=10GiB"}).err.find("no room") != std::string::npos);
    CHECK(here.json_of({"volume", "inspect", "data"})["size_bytes"] == 4 * kMiB);
    CHECK(here.run_rnx({"doctor"}).status == 0);
}

TEST_CASE("a limit set to nothing behind our back is set again before a job gets the volume") {
    const Installation here(on_btrfs());
    here.create("data", "8MiB");
    const std::string path =
        here.state() + "/volumes/" + here.json_of({"volume", "inspect", "data"})["id"].get<std::string>() + "/subvolume";
    REQUIRE(run({{"/usr/bin/btrfs", "qgroup", "limit", "none", path}}).status == 0);
    const auto beyond = here.shell({"-v", "data:/data"}, "dd if=/dev/urandom of=/data/f bs=1M count=12");
    CHECK_MESSAGE((says(beyond, "quota exceeded") || says(beyond, "No space left")), beyond.err);
    REQUIRE(run({{"/usr/bin/btrfs", "quota", "disable", here.state()}}).status == 0);
    const auto refused = here.shell({"-v", "data:/data"}, "true");
    CHECK(refused.status == 125);
    CHECK_MESSAGE(says(refused, "limit the btrfs subvolume"), refused.err);
}

TEST_CASE("case_30: a job makes no subvolume in its volume, no snapshot and no quota of its own") {
    const Installation here(on_btrfs());
    bring_guest(here, kAlice);
    here.create("data", "16MiB", "filesystem", kAlice);
    REQUIRE(here.json_of({"volume", "inspect", "data"}, kAlice)["backend"] == "btrfs");
    const auto tried = here.run_rnx({"run", "-v", "tools:/tools", "-v", "data:/data", "--", "/tools/guest", "attempts", "/data"}, kAlice);
    REQUIRE_MESSAGE(tried.out.starts_with("{"), tried.err);
    const json answers = json::parse(tried.out);
    for (const auto& expected : guest::kAnswers) {
        CAPTURE(expected.attempt);
        const std::string answer = answers.value(std::string(expected.attempt), "not tried");
        CHECK_MESSAGE((answer == expected.answer || answer == expected.other), answer);
    }
    CHECK(run({{"/usr/bin/btrfs", "subvolume", "list", here.state()}}).out.find("data/") == std::string::npos);
}

TEST_CASE("subvolumes that somebody left in a volume go with it") {
    const Installation here(on_btrfs());
    here.create("data", "16MiB");
    REQUIRE(here.shell({"-v", "data:/data"}, "mkdir -p /data/d/e; echo x >/data/d/e/f").status == 0);
    const std::string inside =
        here.state() + "/volumes/" + here.json_of({"volume", "inspect", "data"})["id"].get<std::string>() + "/subvolume/data";
    REQUIRE(run({{"/usr/bin/btrfs", "subvolume", "create", inside + "/d/nested"}}).status == 0);
    REQUIRE(run({{"/usr/bin/chown", "2147352576:2147352576", inside + "/d/nested"}}).status == 0);
    REQUIRE(run({{"/usr/bin/touch", inside + "/d/nested/file"}}).status == 0);
    REQUIRE(run({{"/usr/bin/chown", "2147352576:2147352576", inside + "/d/nested/file"}}).status == 0);
    REQUIRE(here.run_rnx({"volume", "remove", "data"}).status == 0);
    const bool emptied = becomes_true([&here] { return is_empty(here.state() + "/trash"); });
    CHECK_MESSAGE(emptied, here.log());
    CHECK(here.job_groups().empty());
}

TEST_CASE("trash and back, rename, live attach and removal by force on btrfs") {
    const Installation here(on_btrfs("[volumes]\ntrash_retention = \"1h\"\n"));
    here.create("data", "8MiB");
    REQUIRE(here.shell({"-v", "data:/data"}, "echo kept >/data/f").status == 0);
    REQUIRE(here.run_rnx({"volume", "remove", "data"}).status == 0);
    here.kill_daemons("joblet-broker");
    REQUIRE(here.run_rnx({"volume", "restore", "data", "--as", "again"}).status == 0);
    Process job(here.shell_command({}, "echo started; until [ -e /volumes/again ]; do sleep 0.02; done; cat /volumes/again/f; "
                                       "until [ ! -e /volumes/again ]; do sleep 0.02; done; echo gone; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    const std::string id = here.job_groups().at(0);
    REQUIRE(here.run_rnx({"volume", "attach", "again", id}).status == 0);
    CHECK(job.wait_for_output("kept"));
    REQUIRE(here.run_rnx({"volume", "remove", "--force", "--now", "again"}).status == 0);
    CHECK(job.wait_for_output("gone"));
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(becomes_true([&here] { return is_empty(here.state() + "/trash"); }));
}

TEST_CASE("inodes cannot be limited on btrfs: refused when asked for, and auto takes a backend that can") {
    const Installation here(on_btrfs());
    const auto refused = here.run_rnx({"volume", "create", "data", "--size=8MiB", "--inodes=100", "--backend=btrfs"});
    CHECK(refused.status != 0);
    CHECK_MESSAGE(says(refused, "inodes"), refused.err);
    REQUIRE(here.run_rnx({"volume", "create", "data", "--size=8MiB", "--inodes=100"}).status == 0);
    CHECK(here.json_of({"volume", "inspect", "data"})["backend"] == "image");
}

TEST_CASE("a store that cannot hold btrfs volumes says what is missing") {
    {
        const Installation here(on_btrfs({}, StoreMount::Kind::BtrfsWithoutQuotas));
        const auto refused = here.run_rnx({"volume", "create", "data", "--size=8MiB", "--backend=btrfs"});
        CHECK(refused.status == 1);
        CHECK_MESSAGE(says(refused, "btrfs quota enable"), refused.err);
        here.create("data", "8MiB"); // auto: not without a limit
        CHECK(here.json_of({"volume", "inspect", "data"})["backend"] == "image");
    }
    {
        const Installation here;
        const auto refused = here.run_rnx({"volume", "create", "data", "--size=8MiB", "--backend=btrfs"});
        CHECK(refused.status == 1);
        CHECK_MESSAGE(says(refused, "btrfs"), refused.err);
        CHECK(here.json_of({"volume", "list"}).empty());
    }
    Installation::Options wanted;
    wanted.broker_toml = "[volumes]\nbackend = \"btrfs\"\n";
    const Installation here(wanted);
    CHECK(here.run_rnx({"volume", "create", "data", "--size=8MiB"}).status == 1); // root said btrfs: nothing else is taken instead
    CHECK(here.json_of({"volume", "list"}).empty());
}

TEST_SUITE_END();

} // namespace joblet::testing
