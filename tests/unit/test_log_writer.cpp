// What a detached job's log keeps, what it drops, and what it says of that.
#include <doctest/doctest.h>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <string>

#include "broker-root/spawner/log_writer.h"
#include "shared/fd.h"
#include "shared/protocol.h"
#include "tests/log_reading.h"

namespace joblet::testing {

namespace {

struct Log {
    std::array<Fd, 2> files = {Fd(::memfd_create("log.0", MFD_CLOEXEC)), Fd(::memfd_create("log.1", MFD_CLOEXEC))};
    spawner::LogWriter writer;
    std::int64_t time = 0;

    explicit Log(std::uint64_t bytes) : writer({files[0].get(), files[1].get()}, bytes) {}

    void write(LogStream stream, std::string_view text) {
        std::memcpy(writer.room().data(), text.data(), text.size());
        writer.append(stream, ++time, text.size());
    }
    [[nodiscard]] LogContent read() const {
        return read_log(files[0].get(), files[1].get());
    }
};

// A disk that takes no more beyond so many bytes of a file: the write that crosses it is short, the next one fails.
class FullDisk {
  public:
    explicit FullDisk(rlim_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FullDisk() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
    }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;

  private:
    rlimit before_{};
};

} // namespace

TEST_CASE("a log that has room keeps everything in order, with stream and time") {
    Log log(protocol::kLogMin);
    CHECK(log.read().sequence == 0);
    log.write(LogStream::Stdout, "one\n");
    log.write(LogStream::Stderr, std::string_view("\0\xff\n\x01", 4));
    log.write(LogStream::Stdout, "two");
    const auto content = log.read();
    CHECK(content.sequence == 1);
    CHECK(content.dropped == 0);
    REQUIRE(content.pieces.size() == 3);
    CHECK(content.pieces[1].stream == LogStream::Stderr);
    CHECK(content.pieces[1].time_ns == 2);
    CHECK(content.pieces[1].bytes == std::string("\0\xff\n\x01", 4));
    CHECK(content.of(LogStream::Stdout) == "one\ntwo");
    CHECK_FALSE(log.writer.owes());
}

TEST_CASE("a log never exceeds its bound, keeps the newest half at least, and its counts add up") {
    for (const std::uint64_t bound : {protocol::kLogMin, protocol::kLogMin + 1, std::uint64_t{1} << 20U}) {
        Log log(bound);
        std::string all;
        for (std::size_t i = 0; i < 3000; ++i) {
            const std::string piece(1 + i * 7919 % kLogRecordMax, static_cast<char>('a' + i % 26));
            log.write(i % 3 == 0 ? LogStream::Stderr : LogStream::Stdout, piece);
            all += piece;
            const auto content = log.read();
            REQUIRE(content.sizes[0] + content.sizes[1] <= bound);
            REQUIRE(content.total() == all.size());
            if (i % 100 == 0 || i > 2990) {
                std::string kept;
                for (const auto& one : content.pieces) {
                    kept += one.bytes;
                }
                REQUIRE(all.ends_with(kept));
                REQUIRE((content.dropped == 0 || kept.size() + kept.size() / 10 + 2 * kLogRecordMax > bound / 2));
            }
        }
        CHECK(log.read().sequence > 2);
        CHECK(log.read().lost() == 0);
    }
}

TEST_CASE("what a full disk does not take is counted, and told as soon as the disk has room again") {
    Log log(protocol::kLogMin);
    log.write(LogStream::Stdout, "before");
    {
        const FullDisk full(100);
        log.write(LogStream::Stdout, std::string(200, 'x')); // short
        CHECK(log.writer.owes());
        CHECK(log.read().of(LogStream::Stdout) == "before"); // whole records, nothing of the short one
        const FullDisk fuller(20);
        log.write(LogStream::Stderr, std::string(50, 'y'));
        log.writer.settle(9);
        CHECK(log.writer.owes());
    }
    log.write(LogStream::Stdout, "after");
    const auto content = log.read();
    CHECK_FALSE(log.writer.owes());
    REQUIRE(content.pieces.size() == 3);
    CHECK(content.pieces[1].stream == LogStream::Dropped);
    CHECK(content.lost() == 250);
    CHECK(content.of(LogStream::Stdout) == "beforeafter");
    CHECK(content.total() == 6 + 250 + 5);
}

TEST_CASE("a disk that takes nothing at all from the start") {
    Log log(protocol::kLogMin);
    {
        const FullDisk full(0);
        log.write(LogStream::Stdout, "lost");
        CHECK(log.read().sequence == 0);
        CHECK(log.read().sizes == std::array<std::uint64_t, 2>{});
    }
    log.writer.settle(7);
    CHECK(log.read().lost() == 4);
    CHECK(log.read().sequence == 1);
}

TEST_CASE("a log that cannot change to its other file says what it has lost with that") {
    Log log(protocol::kLogMin);
    const std::string piece(10'000, 'p');
    for (int i = 0; i < 8; ++i) {
        log.write(LogStream::Stdout, piece); // three in each file: the ninth changes again
    }
    CHECK(log.read().sequence == 3);
    log.write(LogStream::Stdout, piece);
    std::uint64_t written = 90'000;
    {
        const FullDisk full(0);
        log.write(LogStream::Stdout, piece);
        written += piece.size();
        const auto content = log.read();
        CHECK(content.sequence == 3);
        CHECK(content.lost() == 0);
        CHECK(log.writer.owes());
    }
    log.write(LogStream::Stdout, "on");
    const auto content = log.read();
    CHECK(content.sequence == 3); // what is small still fits
    CHECK(content.dropped == 60'000);
    CHECK(content.lost() == piece.size());
    CHECK(content.total() == written + 2);
}

} // namespace joblet::testing
