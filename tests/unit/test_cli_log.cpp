// The log of a detached job, read while a writer goes on: two files that are emptied in turn.
#include <doctest/doctest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/log_reader.h"
#include "shared/fd.h"

using namespace joblet;
using namespace joblet::cli;

namespace {

// As the stage writes: each file has half, and the other one is emptied when it is full.
class Writer {
  public:
    explicit Writer(std::size_t half) : half_(half) {}

    void write(LogStream stream, const std::string& bytes) {
        if (sequence_ == 0 || end_ + sizeof(LogRecordHeader) + bytes.size() > half_) {
            turn();
        }
        append(stream, bytes, bytes.size());
    }
    void lose(std::uint64_t bytes) {
        append(LogStream::Dropped, std::string(reinterpret_cast<const char*>(&bytes), sizeof bytes), bytes);
    }
    void turn() {
        empty_other();
        const LogFileHeader header{.magic = kLogMagic, .zero = 0, .sequence = ++sequence_, .dropped = dropped_};
        current_ = 1 - current_;
        REQUIRE(::pwrite(file(current_), &header, sizeof header, 0) == sizeof header);
        in_other_ = std::exchange(in_current_, 0);
        end_ = sizeof header;
    }
    // What a reader may see in the middle of turn()
    void empty_other() {
        REQUIRE(::ftruncate(file(1 - current_), 0) == 0);
        dropped_ += std::exchange(in_other_, 0);
    }
    // The beginning of a record; the rest is written by the next call of finish().
    void begin(const std::string& bytes, std::size_t size) {
        record_ = record_of(LogStream::Stdout, bytes);
        REQUIRE(::pwrite(file(current_), record_.data(), size, static_cast<off_t>(end_)) == static_cast<ssize_t>(size));
        in_current_ += bytes.size();
    }
    void finish() {
        REQUIRE(::pwrite(file(current_), record_.data(), record_.size(), static_cast<off_t>(end_)) == static_cast<ssize_t>(record_.size()));
        end_ += record_.size();
    }
    [[nodiscard]] int file(std::size_t which) const {
        return files_.at(which).get();
    }

  private:
    static std::string record_of(LogStream stream, const std::string& bytes) {
        const LogRecordHeader header{
            .time_ns = 1'700'000'000'123'000'000, .stream = stream, .size = static_cast<std::uint32_t>(bytes.size())};
        return std::string(reinterpret_cast<const char*>(&header), sizeof header) + bytes;
    }
    void append(LogStream stream, const std::string& bytes, std::uint64_t output) {
        record_ = record_of(stream, bytes);
        finish();
        in_current_ += output;
    }

    std::size_t half_;
    std::array<Fd, 2> files_{Fd(::memfd_create("log.0", 0)), Fd(::memfd_create("log.1", 0))};
    std::size_t current_ = 1;
    std::uint64_t sequence_ = 0;
    std::size_t end_ = 0;
    std::uint64_t dropped_ = 0;
    std::uint64_t in_current_ = 0;
    std::uint64_t in_other_ = 0;
    std::string record_;
};

// Everything there is: output as text, losses as "<n>".
std::string all_of(LogReader& reader) {
    std::string text;
    for (;;) {
        const auto pieces = reader.read();
        REQUIRE(pieces);
        if (pieces->empty()) {
            return text;
        }
        for (const auto& piece : *pieces) {
            text += piece.stream == LogStream::Dropped ? "<" + std::to_string(piece.lost) + ">" : piece.bytes;
        }
    }
}

std::string tail_of(const std::vector<std::string>& texts, std::uint64_t lines) {
    LogTail tail(lines);
    for (const auto& text : texts) {
        tail.add({.time_ns = 0, .stream = LogStream::Stdout, .bytes = text, .lost = 0});
    }
    std::string out;
    for (const auto& piece : tail.take()) {
        out += piece.bytes;
    }
    return out;
}

} // namespace

TEST_CASE("a log that was never written is empty, and goes on when it is") {
    Writer writer(1000);
    LogReader reader(writer.file(0), writer.file(1));
    CHECK(all_of(reader).empty());
    writer.write(LogStream::Stdout, "a");
    writer.write(LogStream::Stderr, "b");
    CHECK(all_of(reader) == "ab");
    CHECK(all_of(reader).empty());
    writer.write(LogStream::Stdout, "c");
    CHECK(all_of(reader) == "c");
}

TEST_CASE("both files are read in the order in which they were written, whichever comes first") {
    for (const bool swapped : {false, true}) {
        Writer writer(60); // one record of up to 20 bytes
        for (const auto* text : {"one,", "two,", "three,"}) {
            writer.write(LogStream::Stdout, text + std::string(16, '.'));
        }
        LogReader reader(writer.file(swapped ? 1 : 0), writer.file(swapped ? 0 : 1));
        CHECK(all_of(reader) == "<20>two," + std::string(16, '.') + "three," + std::string(16, '.'));
    }
}

TEST_CASE("who follows sees all of it, and every loss once") {
    Writer writer(200);
    LogReader reader(writer.file(0), writer.file(1));
    std::string expected;
    std::string seen;
    for (int i = 0; i < 200; ++i) {
        const auto text = std::to_string(i) + ";";
        writer.write(i % 3 == 0 ? LogStream::Stderr : LogStream::Stdout, text);
        expected += text;
        if (i % 4 == 0) {
            seen += all_of(reader);
        }
    }
    CHECK(seen + all_of(reader) == expected);
}

TEST_CASE("a reader that is left behind learns how much it missed") {
    Writer writer(1000);
    LogReader reader(writer.file(0), writer.file(1));
    writer.write(LogStream::Stdout, "aaaa");
    CHECK(all_of(reader) == "aaaa");
    writer.write(LogStream::Stdout, "bbbbb");
    writer.turn();
    writer.write(LogStream::Stdout, "cccccc");
    writer.turn(); // empties the file that is being read
    writer.write(LogStream::Stdout, "d");
    CHECK(all_of(reader) == "<5>ccccccd");
    for (int i = 0; i < 5; ++i) {
        writer.turn();
        writer.write(LogStream::Stderr, std::string(10, static_cast<char>('0' + i)));
    }
    CHECK(all_of(reader) == "<30>33333333334444444444");
}

TEST_CASE("a file that was just emptied is waited for, and what it had is counted") {
    Writer writer(1000);
    LogReader reader(writer.file(0), writer.file(1));
    writer.write(LogStream::Stdout, "aaaa");
    writer.turn();
    writer.write(LogStream::Stdout, "bb");
    writer.empty_other();
    CHECK(all_of(reader) == "bb"); // that "aaaa" is missing is known when the next file has begun
    writer.turn();
    writer.write(LogStream::Stdout, "c");
    CHECK(all_of(reader) == "<4>c");
}

TEST_CASE("what the disk did not take is told where it is missing, and counted once") {
    Writer writer(1000);
    LogReader reader(writer.file(0), writer.file(1));
    writer.write(LogStream::Stdout, "a");
    writer.lose(7);
    writer.write(LogStream::Stdout, "b");
    writer.turn();
    writer.write(LogStream::Stdout, "c");
    CHECK(all_of(reader) == "a<7>bc");
    writer.turn();
    writer.turn();
    writer.write(LogStream::Stdout, "d");
    CHECK(all_of(reader) == "d");
}

TEST_CASE("the end of a record comes later") {
    Writer writer(1000);
    LogReader reader(writer.file(0), writer.file(1));
    writer.write(LogStream::Stdout, "a");
    for (const std::size_t size : {1UL, 15UL, 16UL, 18UL}) {
        writer.begin("late", size);
        CHECK(all_of(reader) == (size == 1 ? "a" : ""));
    }
    writer.finish();
    CHECK(all_of(reader) == "late");
}

TEST_CASE("a large log comes in parts") {
    Writer writer(std::size_t{4} << 20U);
    LogReader reader(writer.file(0), writer.file(1));
    std::string expected;
    for (int i = 0; i < 100; ++i) {
        const std::string text(kLogRecordMax, static_cast<char>('a' + (i % 26)));
        writer.write(LogStream::Stdout, text);
        expected += text;
    }
    CHECK(all_of(reader) == expected);
}

TEST_CASE("what is no log is damaged") {
    Writer writer(1000);
    writer.write(LogStream::Stdout, "a");
    SUBCASE("its beginning") {
        REQUIRE(::pwrite(writer.file(0), "x", 1, 0) == 1);
    }
    SUBCASE("a record's stream") {
        REQUIRE(::pwrite(writer.file(0), "\x09", 1, sizeof(LogFileHeader) + 8) == 1);
    }
    SUBCASE("a record's size") {
        REQUIRE(::pwrite(writer.file(0), "\x00\x00\x00\x10", 4, sizeof(LogFileHeader) + 12) == 4);
    }
    LogReader reader(writer.file(0), writer.file(1));
    const auto pieces = reader.read();
    REQUIRE_FALSE(pieces);
    CHECK(pieces.error().find("damaged") != std::string::npos);
}

TEST_CASE("the last lines are those at the end, whole, over pieces") {
    CHECK(tail_of({"a\nb\nc\n"}, 2) == "b\nc\n");
    CHECK(tail_of({"a\nb\nc"}, 2) == "b\nc");
    CHECK(tail_of({"a\nb", "b\nc", "c\n"}, 2) == "bb\ncc\n");
    CHECK(tail_of({"a\n", "b\n", "c\n", "d\n"}, 3) == "b\nc\nd\n");
    CHECK(tail_of({"a\n", "b"}, 10) == "a\nb");
    CHECK(tail_of({"a\n", "b\n"}, 0).empty());
    CHECK(tail_of({"a\n\n\n"}, 2) == "\n\n");
    CHECK(tail_of({}, 2).empty());
    std::vector<std::string> many;
    many.reserve(1000);
    for (int i = 0; i < 1000; ++i) {
        many.push_back(std::to_string(i) + "\n");
    }
    CHECK(tail_of(many, 2) == "998\n999\n");
}

TEST_CASE("times stand before lines, not before pieces, of each stream by itself") {
    LogPrinter printer(true);
    const auto text = [&printer](LogStream stream, const std::string& bytes) {
        return printer.text_of({.time_ns = 1'700'000'000'123'456'789, .stream = stream, .bytes = bytes, .lost = 0});
    };
    const std::string time = "2023-11-14T22:13:20.123Z ";
    CHECK(text(LogStream::Stdout, "a") == time + "a");
    CHECK(text(LogStream::Stderr, "x\n") == time + "x\n");
    CHECK(text(LogStream::Stdout, "b\nc\n") == "b\n" + time + "c\n");
    CHECK(text(LogStream::Stdout, "d\n") == time + "d\n");
    CHECK(printer.text_of({.time_ns = 0, .stream = LogStream::Dropped, .bytes = {}, .lost = 12}) == "… 12 bytes were dropped …\n");
    CHECK(LogPrinter(false).text_of({.time_ns = 0, .stream = LogStream::Stdout, .bytes = "a\n", .lost = 0}) == "a\n");
}
