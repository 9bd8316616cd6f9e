// Writes the log of a detached job, as shared/job_log.h describes it. Allocates nothing, opens nothing, and never fails its
// caller: what the disk does not take is counted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "shared/job_log.h"

namespace joblet::spawner {

class LogWriter {
  public:
    // `files`: empty regular files, open for writing, which stay the caller's. `log_bytes`: what both may hold together, at
    // least protocol::kLogMin.
    LogWriter(std::array<int, 2> files, std::uint64_t log_bytes) : files_(files), half_(log_bytes / 2) {}

    // Where the next piece of output is to be put: kLogRecordMax bytes.
    [[nodiscard]] std::span<std::byte> room() {
        return std::span(record_).subspan(sizeof(LogRecordHeader));
    }
    // The first `size` bytes of room(), 1 … kLogRecordMax, become a record; or are counted as lost, if the disk takes no more.
    void append(LogStream stream, std::int64_t time_ns, std::size_t size);

    // Whether output was lost that no Dropped record tells of yet.
    [[nodiscard]] bool owes() const {
        return lost_ > 0;
    }
    // Tries to write that record. append() does it by itself; this is for a job that is silent, and for its end.
    void settle(std::int64_t time_ns);

  private:
    bool write_record(std::span<const std::byte> record, std::uint64_t output_bytes);
    bool make_room(std::size_t size);
    void tell_dropped();

    std::array<int, 2> files_;
    std::uint64_t half_;
    std::size_t current_ = 1;      // of files_; there is none yet while `sequence_` is 0
    std::uint64_t sequence_ = 0;   // of the current file
    std::uint64_t end_ = 0;        // of its last whole record
    std::uint64_t dropped_ = 0;    // of its header
    std::uint64_t told_ = 0;       // of `dropped_`, what its header says: less while the disk does not take it
    std::uint64_t in_current_ = 0; // bytes of output in it, those that a Dropped record stands for included
    std::uint64_t in_other_ = 0;
    std::uint64_t lost_ = 0;
    std::array<std::byte, sizeof(LogRecordHeader) + kLogRecordMax> record_{};
};

} // namespace joblet::spawner
