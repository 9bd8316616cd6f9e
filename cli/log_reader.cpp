#include "cli/log_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "cli/output.h"

namespace joblet::cli {
namespace {

constexpr std::size_t kChunk = std::size_t{256} << 10U;
static_assert(kChunk > sizeof(LogRecordHeader) + kLogRecordMax);

// As many bytes as there are, up to `buffer`'s size.
std::expected<std::size_t, std::string> read_at(int fd, std::span<std::byte> buffer, std::uint64_t offset) {
    std::size_t got = 0;
    while (got < buffer.size()) {
        const ssize_t count = ::pread(fd, buffer.data() + got, buffer.size() - got, static_cast<off_t>(offset + got));
        if (count == 0) {
            break;
        }
        if (count > 0) {
            got += static_cast<std::size_t>(count);
        } else if (errno != EINTR) {
            return std::unexpected(std::string("the log could not be read: ") + std::strerror(errno));
        }
    }
    return got;
}

LogPiece lost_piece(std::int64_t time_ns, std::uint64_t bytes) {
    return {.time_ns = time_ns, .stream = LogStream::Dropped, .bytes = {}, .lost = bytes};
}

} // namespace

std::expected<std::vector<LogPiece>, std::string> LogReader::read() {
    std::vector<LogPiece> pieces;
    while (pieces.empty()) {
        // Before the records: once there is a newer file, the one that is being read grows no more.
        const auto found = headers();
        if (!found) {
            return std::unexpected(found.error());
        }
        // The oldest one that has something new
        std::optional<std::size_t> next;
        bool is_there = false;
        for (std::size_t file = 0; file < files_.size(); ++file) {
            const auto& header = (*found)[file];
            is_there = is_there || (header && sequence_ != 0 && header->sequence == sequence_);
            if (header && header->sequence > sequence_ && (!next || header->sequence < (*found)[*next]->sequence)) {
                next = file;
            }
        }
        if (is_there) {
            const auto chunk = read_chunk(pieces);
            if (!chunk) {
                return std::unexpected(chunk.error());
            }
            if (*chunk == Chunk::Gone) {
                continue;
            }
        }
        if (pieces.empty() && !next) {
            break;
        }
        if (pieces.empty()) {
            move_to(*found, *next, pieces);
        }
    }
    return pieces;
}

std::expected<std::optional<LogFileHeader>, std::string> LogReader::header_of(std::size_t file) const {
    LogFileHeader header;
    const auto size = read_at(files_.at(file), std::as_writable_bytes(std::span(&header, 1)), 0);
    if (!size) {
        return std::unexpected(size.error());
    }
    if (*size != sizeof header) {
        return std::nullopt;
    }
    if (header.magic != kLogMagic || header.sequence == 0) {
        return std::unexpected("the log is damaged: it does not begin as one");
    }
    return header;
}

std::expected<LogReader::Headers, std::string> LogReader::headers() const {
    Headers headers;
    for (std::size_t file = 0; file < files_.size(); ++file) {
        auto header = header_of(file);
        if (!header) {
            return std::unexpected(header.error());
        }
        headers.at(file) = *header;
    }
    return headers;
}

// Reads `file` from its beginning, and reports what lies between that and what was read so far.
void LogReader::move_to(const Headers& headers, std::size_t file, std::vector<LogPiece>& pieces) {
    const auto& header = *headers.at(file);
    const auto& other = headers.at(1 - file);
    // Where the file begins, in bytes since the job's start: what the next file's header says, which was written later. What
    // the file's own says does not count the file before it.
    std::uint64_t begin = accounted_;
    if (other && other->sequence == header.sequence + 1) {
        begin = other->dropped;
    } else if (other && other->sequence + 1 == header.sequence && other->sequence == sequence_) {
        begin = header.dropped + in_current_;
    } else {
        begin = header.dropped;
    }
    if (begin > accounted_) {
        pieces.push_back(lost_piece(0, begin - accounted_));
        accounted_ = begin;
    }
    current_ = file;
    sequence_ = header.sequence;
    offset_ = sizeof header;
    in_current_ = 0;
}

std::expected<LogReader::Chunk, std::string> LogReader::read_chunk(std::vector<LogPiece>& pieces) {
    std::vector<std::byte> buffer(kChunk);
    const auto size = read_at(files_.at(current_), buffer, offset_);
    if (!size) {
        return std::unexpected(size.error());
    }
    // It can have been emptied, and begun again, while its bytes were read: then they are of no use.
    const auto header = header_of(current_);
    if (!header) {
        return std::unexpected(header.error());
    }
    if (!*header || (*header)->sequence != sequence_) {
        return Chunk::Gone;
    }
    const auto taken = take_records(std::span(buffer).first(*size), pieces);
    if (!taken) {
        return std::unexpected(taken.error());
    }
    offset_ += *taken;
    return *taken > 0 ? Chunk::Some : Chunk::Nothing;
}

// The bytes of the records that are complete.
std::expected<std::size_t, std::string> LogReader::take_records(std::span<const std::byte> bytes, std::vector<LogPiece>& pieces) {
    std::size_t taken = 0;
    for (;;) {
        const auto rest = bytes.subspan(taken);
        LogRecordHeader header;
        if (rest.size() < sizeof header) {
            return taken;
        }
        std::memcpy(&header, rest.data(), sizeof header);
        const bool is_output = header.stream == LogStream::Stdout || header.stream == LogStream::Stderr;
        std::uint64_t lost = 0;
        if (header.size == 0 || header.size > kLogRecordMax ||
            !(is_output || (header.stream == LogStream::Dropped && header.size == sizeof lost))) {
            return std::unexpected("the log is damaged: a record in it makes no sense");
        }
        if (rest.size() < sizeof header + header.size) {
            return taken;
        }
        const auto content = rest.subspan(sizeof header, header.size);
        if (is_output) {
            pieces.push_back({.time_ns = header.time_ns,
                              .stream = header.stream,
                              .bytes = std::string(reinterpret_cast<const char*>(content.data()), content.size()),
                              .lost = 0});
            in_current_ += content.size();
            accounted_ += content.size();
        } else {
            std::memcpy(&lost, content.data(), sizeof lost);
            pieces.push_back(lost_piece(header.time_ns, lost));
            in_current_ += lost;
            accounted_ += lost;
        }
        taken += sizeof header + header.size;
    }
}

void LogTail::add(LogPiece piece) {
    lines_ += static_cast<std::uint64_t>(std::ranges::count(piece.bytes, '\n'));
    pieces_.push_back(std::move(piece));
    // One more than wanted: the last line may lack its end.
    while (pieces_.size() > 1) {
        const auto of_first = static_cast<std::uint64_t>(std::ranges::count(pieces_.front().bytes, '\n'));
        if (lines_ - of_first <= wanted_) {
            break;
        }
        lines_ -= of_first;
        pieces_.pop_front();
    }
}

std::vector<LogPiece> LogTail::take() {
    std::vector<LogPiece> last;
    std::uint64_t lines = 0;
    bool is_end = true; // of the whole: an end of a line there begins no other line
    for (auto piece = pieces_.rbegin(); piece != pieces_.rend(); ++piece) {
        auto& bytes = piece->bytes;
        std::size_t begin = bytes.size();
        for (; begin > 0; --begin) {
            if (is_end) {
                is_end = false;
                lines += wanted_ > 0 ? 1 : 0;
            } else if (bytes[begin - 1] == '\n') {
                ++lines;
            }
            if (lines > wanted_ || wanted_ == 0) {
                break;
            }
        }
        const bool is_cut = begin > 0;
        bytes.erase(0, begin);
        if (!bytes.empty() || (!is_cut && piece->stream == LogStream::Dropped)) {
            last.push_back(std::move(*piece));
        }
        if (is_cut) {
            break;
        }
    }
    pieces_.clear();
    std::ranges::reverse(last);
    return last;
}

std::string LogPrinter::text_of(const LogPiece& piece) {
    if (piece.stream == LogStream::Dropped) {
        return "… " + std::to_string(piece.lost) + " bytes were dropped …\n";
    }
    if (!timestamps_) {
        return piece.bytes;
    }
    bool& in_line = in_line_.at(piece.stream == LogStream::Stdout ? 0 : 1);
    const auto time = rfc3339_milliseconds(piece.time_ns) + " ";
    std::string text;
    for (std::string_view rest = piece.bytes; !rest.empty();) {
        const auto newline = rest.find('\n');
        const auto size = newline == std::string_view::npos ? rest.size() : newline + 1;
        text += in_line ? "" : time;
        text += rest.substr(0, size);
        in_line = newline == std::string_view::npos;
        rest.remove_prefix(size);
    }
    return text;
}

} // namespace joblet::cli
