// Reads the log of a detached job (shared/job_log.h) while it is being written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shared/job_log.h"

namespace joblet::cli {

struct LogPiece {
    std::int64_t time_ns = 0; // CLOCK_REALTIME; of what is lost: of what comes after it, 0 if that is not known
    LogStream stream{};
    std::string bytes;      // Stdout, Stderr
    std::uint64_t lost = 0; // Dropped: so many bytes of output are missing here
};

class LogReader {
  public:
    // The two files, in any order, which stay open as long as this is used. Their positions are not moved.
    LogReader(int first, int second) : files_{first, second} {}

    // What came since the last call, in the order in which it was written, up to about 256 KiB; empty: nothing yet. An error is a
    // sentence: this is no log, or it could not be read.
    std::expected<std::vector<LogPiece>, std::string> read();

  private:
    using Headers = std::array<std::optional<LogFileHeader>, 2>; // nullopt: never written, or just emptied
    enum class Chunk : std::uint8_t { Some, Nothing, Gone };

    std::expected<std::optional<LogFileHeader>, std::string> header_of(std::size_t file) const;
    std::expected<Headers, std::string> headers() const;
    void move_to(const Headers& headers, std::size_t file, std::vector<LogPiece>& pieces);
    std::expected<Chunk, std::string> read_chunk(std::vector<LogPiece>& pieces);
    std::expected<std::size_t, std::string> take_records(std::span<const std::byte> bytes, std::vector<LogPiece>& pieces);

    std::array<int, 2> files_;
    std::size_t current_ = 0;
    std::uint64_t sequence_ = 0;   // of what is being read; 0: nothing was there yet
    std::uint64_t offset_ = 0;     // in it
    std::uint64_t in_current_ = 0; // bytes of output that it told of so far
    std::uint64_t accounted_ = 0;  // bytes of output since the job's start that were read or reported as lost
};

// Keeps what is needed of a log to show its last lines.
class LogTail {
  public:
    explicit LogTail(std::uint64_t lines) : wanted_(lines) {}
    void add(LogPiece piece);
    // The last lines, cut off in the middle of a piece if need be. What is lost is in it if it lies between them.
    std::vector<LogPiece> take();

  private:
    std::uint64_t wanted_;
    std::uint64_t lines_ = 0; // ends of lines in pieces_
    std::deque<LogPiece> pieces_;
};

// What goes to our stdout and stderr for a piece.
class LogPrinter {
  public:
    explicit LogPrinter(bool timestamps) : timestamps_(timestamps) {}
    // Stdout, Stderr: what is to be written there. Dropped: the line for stderr that says so.
    std::string text_of(const LogPiece& piece);

  private:
    bool timestamps_;
    std::array<bool, 2> in_line_{}; // of stdout and stderr: its last line is not at its end
};

} // namespace joblet::cli
