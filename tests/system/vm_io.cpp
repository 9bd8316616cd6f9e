// Bytes and operations of reading and writing, held on the disk behind a volume (/dev/vdb of the VM) or on an image's loop device.
// A job takes at least as long as its limit wants, by the VM's own clock. How much longer tells also about the machine, which may be
// busy: of a few tries one is within a tenth of the limit.
#include <doctest/doctest.h>

#include <csignal>

#include <algorithm>
#include <array>
#include <sstream>

#include <fmt/format.h>

#include "tests/system/vm_parts.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("vm_io");

namespace {

constexpr const char* kDisk = "/dev/vdb";
// What each measured transfer takes at its limit. The kernel counts in slices of a tenth of a second, and lets the first one pass.
constexpr double kSeconds = 4;
constexpr double kLeast = kSeconds / 1.1;
constexpr double kMost = kSeconds * 1.1;
constexpr int kTries = 5;

// "real\t0m 4.01s" of busybox's time.
double real_seconds(const Outcome& outcome) {
    const auto at = outcome.err.find("real");
    REQUIRE_MESSAGE(at != std::string::npos, outcome.err);
    std::istringstream words(outcome.err.substr(at));
    std::string word;
    double minutes = 0;
    double rest = 0;
    char unit = 0;
    words >> word >> minutes >> unit >> rest;
    REQUIRE(!words.fail());
    return 60 * minutes + rest;
}

struct Transfer {
    const char* option;
    const char* dd;
};
constexpr std::array kTransfers = {
    Transfer{"--write-bps=2MiB", "if=/dev/zero of=/data/f bs=128k count=64 oflag=direct"},
    Transfer{"--read-bps=2MiB", "if=/data/kept of=/dev/null bs=128k count=64 iflag=direct"},
    Transfer{"--write-iops=50", "if=/dev/zero of=/data/f bs=4k count=200 oflag=direct conv=notrunc"},
    Transfer{"--read-iops=50", "if=/data/kept of=/dev/null bs=4k count=200 iflag=direct"},
};

void check_transfers(const Installation& here) {
    REQUIRE(here.shell({"-v", "data:/data"}, "dd if=/dev/zero of=/data/kept bs=128k count=64 2>/dev/null; cp /data/kept /data/f; sync")
                .status == 0);
    for (const auto& transfer : kTransfers) {
        CAPTURE(transfer.option);
        double least = kMost + 1;
        for (int i = 0; i < kTries && least > kMost; ++i) {
            const auto took = here.shell({"-v", "data:/data", transfer.option}, fmt::format("time dd {}", transfer.dd), 0, seconds(120));
            REQUIRE_MESSAGE(took.status == 0, took.err);
            least = std::min(least, real_seconds(took));
            CHECK_MESSAGE(least >= kLeast, took.err);
        }
        CHECK_MESSAGE(least <= kMost, least, " seconds at best");
    }
}

} // namespace

TEST_CASE("on a disk with project quotas: read and write, bytes and operations, and what is written through the cache") {
    const Installation here(vm_options(StoreMount::Kind::XfsQuota, {}, kDisk));
    here.create("data", "64MiB");
    REQUIRE(here.json_of({"volume", "inspect", "data"})["backend"] == "project-quota");
    check_transfers(here);
    const auto cached = here.shell({"-v", "data:/data", "--write-bps=2MiB"}, "time dd if=/dev/zero of=/data/g bs=128k count=64 conv=fsync");
    CHECK_MESSAGE(real_seconds(cached) >= kLeast, cached.err);
    // Without a limit it is not slow by itself
    const auto free = here.shell({"-v", "data:/data"}, "time dd if=/dev/zero of=/data/f bs=128k count=64 oflag=direct");
    CHECK_MESSAGE(real_seconds(free) < kLeast, free.err);
}

TEST_CASE("a volume's own limit holds for every job that asks for nothing else, and the kernel's file has it") {
    const Installation here(vm_options(StoreMount::Kind::XfsQuota, {}, kDisk));
    REQUIRE(here.run_rnx({"volume", "create", "data", "--size=64MiB", "--write-bps=2MiB", "--read-iops=500"}).status == 0);
    REQUIRE(here.run_rnx({"volume", "create", "slow", "--size=64MiB", "--write-bps=1MiB"}).status == 0);
    const auto limited = here.shell({"-v", "data:/data"}, "time dd if=/dev/zero of=/data/f bs=128k count=64 oflag=direct");
    CHECK_MESSAGE(real_seconds(limited) >= kLeast, limited.err);
    Process job(here.shell_command({"-v", "data:/data", "-v", "slow"}, "echo started; sleep 300"));
    REQUIRE(job.wait_for_output("started"));
    const std::string id = only_job(here);
    // virtio disks: major 254, 16 minors each; the lower of two
    const std::string held = group_file(here, id, "io.max");
    CHECK_MESSAGE(held == "254:16 rbps=max wbps=1048576 riops=500 wiops=max", held);
    const json limits = here.json_of({"job", "inspect", id})["limits"];
    CHECK(limits["io"]["write_bytes"] == kMiB);
    CHECK(limits["io"]["read_operations"] == 500);
    CHECK(limits["io"]["read_bytes"].is_null());
    CHECK(limits["devices"] == json({"254:16"}));
    job.signal(SIGKILL);
    (void)job.wait();
    Process own(here.shell_command({"-v", "data:/data", "--write-bps=3MiB"}, "echo started; sleep 300"));
    REQUIRE(own.wait_for_output("started"));
    const std::string own_held = group_file(here, only_job(here), "io.max");
    CHECK_MESSAGE(own_held.find("wbps=3145728") != std::string::npos, own_held);
    own.signal(SIGKILL);
    (void)own.wait();
}

TEST_CASE("on an image's loop device, and on one that is attached to a running job") {
    const Installation here(vm_options(StoreMount::Kind::None, "[volumes]\nbackend = \"image\"\n"));
    here.create("data", "64MiB");
    check_transfers(here);
    here.create("late", "32MiB");
    Process job(here.shell_command({"-v", "data", "--write-bps=2MiB"},
                                   "echo started; until [ -e /volumes/late ]; do sleep 0.1; done; "
                                   "time dd if=/dev/zero of=/volumes/late/f bs=128k count=64 oflag=direct"));
    REQUIRE(job.wait_for_output("started"));
    REQUIRE(here.run_rnx({"volume", "attach", "late", only_job(here)}).status == 0);
    const auto ended = job.wait(seconds(60));
    CHECK_MESSAGE(real_seconds(ended) >= kLeast, ended.err);
}

TEST_CASE("on btrfs, whose disk the kernel does not name") {
    const Installation here(vm_options(StoreMount::Kind::Btrfs, {}, kDisk));
    here.create("data", "64MiB");
    REQUIRE(here.json_of({"volume", "inspect", "data"})["backend"] == "btrfs");
    check_transfers(here);
}

TEST_CASE("where no disk is, a limit of reading and writing is refused") {
    Installation::Options options = vm_options(StoreMount::Kind::Tmpfs, {}, "size=64M");
    const Installation here(options);
    here.create("mem", "1MiB", "memory");
    const auto refused = here.shell({"-v", "mem", "--write-bps=1MiB"}, "echo not reached");
    CHECK(refused.status == 125);
    CHECK(refused.out.empty());
}

TEST_SUITE_END();

} // namespace joblet::testing
