// Reads the log of a detached job as shared/job_log.h describes it; for tests.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "shared/job_log.h"

namespace joblet::testing {

struct LogPiece {
    LogStream stream{};
    std::int64_t time_ns = 0;
    std::string bytes; // of Stdout and Stderr
    std::uint64_t lost = 0;
};
struct LogContent {
    std::vector<LogPiece> pieces; // of the older file, then of the newer
    std::uint64_t dropped = 0;    // of the newer file's header
    std::uint64_t sequence = 0;   // likewise
    std::array<std::uint64_t, 2> sizes{};

    [[nodiscard]] std::string of(LogStream stream) const {
        std::string out;
        for (const auto& piece : pieces) {
            out += piece.stream == stream ? piece.bytes : "";
        }
        return out;
    }
    [[nodiscard]] std::uint64_t lost() const {
        std::uint64_t sum = 0;
        for (const auto& piece : pieces) {
            sum += piece.lost;
        }
        return sum;
    }
    // Everything that ever came out of the job
    [[nodiscard]] std::uint64_t total() const {
        return dropped + lost() + of(LogStream::Stdout).size() + of(LogStream::Stderr).size();
    }
};

struct LogFile {
    LogFileHeader header; // sequence 0: never written
    std::vector<LogPiece> pieces;
};

// Throws if the file is not made of whole records.
inline LogFile read_log_file(int fd) {
    struct stat info{};
    ::fstat(fd, &info);
    std::string text(static_cast<std::size_t>(info.st_size), '\0');
    if (::pread(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
        throw std::runtime_error("the log cannot be read");
    }
    LogFile out;
    if (text.empty()) {
        return out;
    }
    std::memcpy(&out.header, text.data(), sizeof out.header);
    if (out.header.magic != kLogMagic || out.header.zero != 0 || out.header.sequence == 0) {
        throw std::runtime_error("no header");
    }
    for (std::size_t at = sizeof out.header; at < text.size();) {
        LogRecordHeader record;
        if (text.size() - at < sizeof record) {
            throw std::runtime_error("half a record's header");
        }
        std::memcpy(&record, text.data() + at, sizeof record);
        at += sizeof record;
        if (record.size == 0 || record.size > kLogRecordMax || text.size() - at < record.size) {
            throw std::runtime_error("half a record");
        }
        LogPiece piece{.stream = record.stream, .time_ns = record.time_ns, .bytes = text.substr(at, record.size), .lost = 0};
        at += record.size;
        if (record.stream == LogStream::Dropped) {
            std::memcpy(&piece.lost, piece.bytes.data(), sizeof piece.lost);
            piece.bytes.clear();
        }
        out.pieces.push_back(std::move(piece));
    }
    return out;
}

inline LogContent read_log(int first, int second) {
    auto older = read_log_file(first);
    auto newer = read_log_file(second);
    if (older.header.sequence > newer.header.sequence) {
        std::swap(older, newer);
    }
    LogContent out;
    out.pieces = std::move(older.pieces);
    out.pieces.insert(out.pieces.end(), newer.pieces.begin(), newer.pieces.end());
    out.dropped = newer.header.dropped;
    out.sequence = newer.header.sequence;
    struct stat info{};
    ::fstat(first, &info);
    out.sizes[0] = static_cast<std::uint64_t>(info.st_size);
    ::fstat(second, &info);
    out.sizes[1] = static_cast<std::uint64_t>(info.st_size);
    return out;
}

} // namespace joblet::testing
