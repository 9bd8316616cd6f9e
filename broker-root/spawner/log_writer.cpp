#include "broker-root/spawner/log_writer.h"

#include <unistd.h>

#include <cstring>
#include <utility>

namespace joblet::spawner {

static_assert(sizeof(LogFileHeader) == 24 && sizeof(LogRecordHeader) == 16);

void LogWriter::append(LogStream stream, std::int64_t time_ns, std::size_t size) {
    // In order: nothing new is written before what is missing in front of it has been told
    settle(time_ns);
    const LogRecordHeader header{.time_ns = time_ns, .stream = stream, .size = static_cast<std::uint32_t>(size)};
    std::memcpy(record_.data(), &header, sizeof header);
    if (owes() || !write_record(std::span(record_).first(sizeof header + size), size)) {
        lost_ += size;
    }
}

void LogWriter::settle(std::int64_t time_ns) {
    if (!owes()) {
        return;
    }
    std::array<std::byte, sizeof(LogRecordHeader) + sizeof lost_> record{};
    const LogRecordHeader header{.time_ns = time_ns, .stream = LogStream::Dropped, .size = sizeof lost_};
    std::memcpy(record.data(), &header, sizeof header);
    std::memcpy(record.data() + sizeof header, &lost_, sizeof lost_);
    if (write_record(record, lost_)) {
        lost_ = 0;
    }
}

// One write, at a place that is known: what a failed one has left is cut off, and if not even that works, written over.
bool LogWriter::write_record(std::span<const std::byte> record, std::uint64_t output_bytes) {
    if (!make_room(record.size())) {
        return false;
    }
    const int file = files_[current_];
    const ssize_t written = ::pwrite(file, record.data(), record.size(), static_cast<off_t>(end_));
    if (written != static_cast<ssize_t>(record.size())) {
        [[maybe_unused]] const int cut = ::ftruncate(file, static_cast<off_t>(end_));
        return false;
    }
    end_ += record.size();
    in_current_ += output_bytes;
    tell_dropped();
    return true;
}

// The other file is taken when this one is full. Until its header is written this one stays the current one, full as it is.
bool LogWriter::make_room(std::size_t size) {
    if (sequence_ != 0 && end_ + size <= half_) {
        return true;
    }
    const std::size_t other = 1 - current_;
    if (::ftruncate(files_[other], 0) < 0) {
        return false;
    }
    dropped_ += std::exchange(in_other_, 0);
    const LogFileHeader header{.magic = kLogMagic, .zero = 0, .sequence = sequence_ + 1, .dropped = dropped_};
    if (::pwrite(files_[other], &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
        [[maybe_unused]] const int cut = ::ftruncate(files_[other], 0);
        tell_dropped();
        return false;
    }
    in_other_ = std::exchange(in_current_, 0);
    current_ = other;
    ++sequence_;
    told_ = dropped_;
    end_ = sizeof header;
    return end_ + size <= half_;
}

// The current file's header, when what the other one held is gone and nothing has taken its place.
void LogWriter::tell_dropped() {
    if (sequence_ == 0 || told_ == dropped_) {
        return;
    }
    const ssize_t written = ::pwrite(files_[current_], &dropped_, sizeof dropped_, offsetof(LogFileHeader, dropped));
    if (written == static_cast<ssize_t>(sizeof dropped_)) {
        told_ = dropped_;
    }
}

} // namespace joblet::spawner
