// Detached jobs: nobody's hello, output in a log that pid 1 keeps.
#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "broker-root/spawner/log_writer.h"
#include "shared/protocol.h"
#include "tests/boundary/spawner_world.h"

namespace joblet::testing {

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

JobOptions detached(std::vector<std::string> arguments) {
    auto options = run_of(std::move(arguments));
    options.flags = spawner::kLaunchDetached;
    return options;
}

JobOptions detached_shell(std::string script) {
    return detached({"/bin/sh", "-c", std::move(script)});
}

ExitRecord end_of(TestJob& job, int timeout_ms = 20'000) {
    REQUIRE(job.finish(timeout_ms));
    REQUIRE(job.agreed());
    return *job.agreed();
}

// A file system that is full at so many bytes.
Fd small_disk(std::uint64_t bytes) {
    auto made = kernel::make_tmpfs({.size_bytes = bytes, .inodes = 16, .mode = 0700}, kernel::Attributes::NoSuidNoDev);
    REQUIRE(made);
    return std::move(*made);
}

Fd open_in(const Fd& directory, const char* name) {
    Fd file(::openat(directory.get(), name, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(file.valid());
    return file;
}

} // namespace

TEST_CASE("a detached job reads nothing, and its output is in the log by stream, to the last byte") {
    World world;
    auto job = world.start(detached_shell(R"(printf 'a\0b\377'; printf 'e\n' >&2; cat; stat -Lc %t:%T /dev/stdin; exit 3)"));
    const auto record = end_of(job);
    CHECK(record.code == 3);
    CHECK(record.flags == 0);
    const auto log = job.log();
    CHECK(log.of(LogStream::Stdout) == std::string("a\0b\xff", 4) + "1:3\n");
    CHECK(log.of(LogStream::Stderr) == "e\n");
    CHECK(log.dropped == 0);
    for (const auto& piece : log.pieces) {
        CHECK(piece.time_ns >= record.started_ns - 1'000'000'000);
        CHECK(piece.time_ns <= record.ended_ns + 1'000'000'000);
    }
}

TEST_CASE("a detached job can open its output again, whoever it is") {
    World world;
    for (const std::uint32_t user : {0U, 1000U}) {
        auto options =
            detached_shell("echo out > /dev/stdout; echo err > /dev/stderr; echo more >> /proc/self/fd/1; stat -Lc %u:%g /dev/stdout");
        options.user = user;
        options.group = user;
        auto job = world.start(std::move(options));
        CHECK(end_of(job).code == 0);
        CHECK(job.log().of(LogStream::Stdout) == fmt::format("out\nmore\n{0}:{0}\n", user));
        CHECK(job.log().of(LogStream::Stderr) == "err\n");
    }
}

TEST_CASE("tens of megabytes pass through a log that keeps one, and the counts add up") {
    World world;
    auto options = detached_shell("head -c 41943040 /dev/zero | tr '\\0' 'x' & seq 1 2000000 >&2; wait; echo end");
    auto job = world.start(std::move(options));
    const auto record = end_of(job, 60'000);
    CHECK(record.code == 0);
    const auto log = job.log();
    CHECK(log.sizes[0] + log.sizes[1] <= kMiB);
    CHECK(log.sizes[0] + log.sizes[1] > kMiB / 2);
    CHECK(log.lost() == 0);
    constexpr std::uint64_t kLines = 14'888'896; // of seq 1 2000000
    CHECK(log.total() == 41'943'040 + kLines + 4);
    CHECK(log.of(LogStream::Stdout).ends_with("xend\n"));
}

TEST_CASE("what is in the log after many changes of file is the exact end of what the job wrote") {
    World world;
    auto options = detached_shell("seq 1 300000");
    options.log_bytes = protocol::kLogMin;
    auto job = world.start(std::move(options));
    CHECK(end_of(job).code == 0);
    std::string expected;
    for (int i = 1; i <= 300'000; ++i) {
        expected += std::to_string(i) + "\n";
    }
    const auto log = job.log();
    const auto kept = log.of(LogStream::Stdout);
    CHECK(expected.ends_with(kept));
    CHECK(log.dropped + kept.size() == expected.size());
    CHECK(kept.size() > protocol::kLogMin / 2 - kLogRecordMax - 1024);
}

TEST_CASE("a job may close its output, and goes on") {
    World world;
    auto job = world.start(detached_shell("echo before; exec >&- 2>&-; sleep 0.3; exit 6"));
    CHECK(end_of(job).code == 6);
    CHECK(job.log().of(LogStream::Stdout) == "before\n");
}

TEST_CASE("an orphan that keeps the output, or goes on writing, does not keep the job from ending") {
    World world;
    auto job = world.start(detached({"/guest/joblet-guest", "orphan"}));
    CHECK(end_of(job, 5000).code == 0);
    CHECK(job.log().of(LogStream::Stdout) == "{\"orphan\":true}\n");
    auto flooding = detached_shell("setsid sh -c 'exec yes' & sleep 0.2; echo main >&2");
    flooding.log_bytes = 128 * kMiB; // so that what comes after it does not take its place
    auto flood = world.start(std::move(flooding));
    CHECK(end_of(flood, 5000).code == 0);
    CHECK(flood.log().of(LogStream::Stderr) == "main\n");
    CHECK(flood.cgroup().wait_empty());
}

TEST_CASE("what happens at the control socket means nothing to a detached job") {
    World world;
    auto job = world.start(detached({"/guest/joblet-guest", "await-signal"}));
    for (int round = 0; round < 200 && job.log().pieces.empty(); ++round) {
        ::usleep(10'000);
    }
    job.signal_as_rnx(SIGUSR1);
    job.signal_as_rnx(99);
    job.hang_up();
    CHECK_FALSE(job.finish(500));
    job.signal_as_broker(SIGUSR2);
    REQUIRE(job.finish(5000));
    CHECK(job.log().of(LogStream::Stdout).ends_with("{\"signal\":12}\n"));
    REQUIRE(job.in_file);
    CHECK(job.in_file->code == 0);
}

TEST_CASE("a full disk neither stops a job nor spoils its log, and the loss is told") {
    World world;
    const Fd disk = small_disk(200 << 10U);
    auto options = detached_shell("seq 1 100000; echo done >&2; exit 4");
    options.log_directory = disk.get();
    auto job = world.start(std::move(options));
    CHECK(end_of(job).code == 4);
    const auto log = job.log();
    constexpr std::uint64_t kLines = 588'895; // of seq 1 100000
    CHECK(log.sizes[0] + log.sizes[1] <= 200 << 10U);
    CHECK(log.of(LogStream::Stdout).starts_with("1\n2\n3\n"));
    CHECK(log.total() <= kLines + 5); // what the last Dropped record itself has no room for is not told
    CHECK(log.total() > 190 << 10U);
}

TEST_CASE("a silent job's loss is told when the disk has room again") {
    World world;
    const Fd disk = small_disk(128 << 10U);
    {
        const Fd filler = open_in(disk, "filler");
        REQUIRE(::fallocate(filler.get(), 0, 0, 128 << 10U) == 0);
    }
    auto options = detached_shell("echo lost; sleep 60");
    options.log_directory = disk.get();
    auto job = world.start(std::move(options));
    ::usleep(500'000);
    CHECK(job.log().sequence == 0);
    REQUIRE(::unlinkat(disk.get(), "filler", 0) == 0);
    for (int round = 0; round < 300 && job.log().pieces.empty(); ++round) {
        ::usleep(10'000);
    }
    CHECK(job.log().lost() == 5);
    job.signal_as_broker(SIGKILL);
    CHECK(job.finish());
}

TEST_CASE("a log writer on a disk that fills up and is emptied again: whole records, and every byte told") {
    const Fd disk = small_disk(96 << 10U);
    const Fd first = open_in(disk, "log.0");
    const Fd second = open_in(disk, "log.1");
    REQUIRE(::fallocate(open_in(disk, "filler").get(), 0, 0, 32 << 10U) == 0);
    spawner::LogWriter writer({first.get(), second.get()}, kMiB);
    std::uint64_t written = 0;
    const auto write = [&](std::size_t size) {
        std::ranges::fill(writer.room().first(size), std::byte{'w'});
        writer.append(LogStream::Stdout, 1, size);
        written += size;
    };
    for (int i = 0; i < 40; ++i) {
        write(7000);
    }
    CHECK(writer.owes());
    CHECK(read_log(first.get(), second.get()).total() < written);
    REQUIRE(::unlinkat(disk.get(), "filler", 0) == 0);
    write(7000);
    CHECK_FALSE(writer.owes());
    const auto log = read_log(first.get(), second.get());
    CHECK(log.total() == written);
    CHECK(log.lost() > 0);
}

TEST_CASE("ten megabytes a second of small writes are no trouble") {
    World world;
    auto options = detached({"/usr/bin/dd", "if=/dev/zero", "bs=512", "count=40960", "status=none"});
    auto job = world.start(std::move(options));
    const auto record = end_of(job, 30'000);
    CHECK(record.code == 0);
    CHECK(job.log().total() == 512 * 40960);
    CHECK(record.ended_ns - record.started_ns < 2'000'000'000);
}

} // namespace joblet::testing
