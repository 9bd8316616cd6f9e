// The log of a detached job, on disk: /opt/joblet/jobs/<id>/log.0 and log.1, written by the job's pid 1, read by whoever was
// given the two descriptors. One of the files is being written; when it has half of what the log may keep, the other one is
// emptied and goes on. So the newest half at least is always there, and never more than the whole on disk.
//
// A file is one LogFileHeader and then records, each a LogRecordHeader and `size` bytes, written by one write(2). Numbers are the
// machine's own. A reader may see the end of a record that is just being written as missing: it comes later. A file can be
// emptied while it is read: `sequence` is then another one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace joblet {

struct LogFileHeader {
    std::uint32_t magic = 0; // kLogMagic
    std::uint32_t zero = 0;
    std::uint64_t sequence = 0; // 1, 2, 3, … over both files: the higher one is being written. A file of size 0 was never written
    std::uint64_t dropped = 0;  // bytes of output since the job's start that came before this file and are not in the other one
};
inline constexpr std::uint32_t kLogMagic = 0x4A4C4F47; // "JLOG"

enum class LogStream : std::uint32_t {
    Stdout = 1,
    Stderr = 2,
    Dropped = 3, // the bytes are one std::uint64_t: so much output was lost here, because the disk took no more
};

struct LogRecordHeader {
    std::int64_t time_ns = 0; // CLOCK_REALTIME, when it was read from the job
    LogStream stream{};
    std::uint32_t size = 0; // 1 … kLogRecordMax
};
inline constexpr std::size_t kLogRecordMax = 16384;

} // namespace joblet
