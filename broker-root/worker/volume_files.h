// The directory of one volume, wherever it is, and our own files in it: record and labels.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/failure.h"
#include "broker-root/worker/labels.h"
#include "broker-root/worker/orders.h"
#include "shared/fd.h"

namespace joblet::worker {

inline constexpr std::uint32_t kVolumeDirectoryMode = 0700;

// Open for reading. Root's, nobody else's, on the file system that `parent` is on: otherwise EUCLEAN.
kernel::Result<Fd> open_volume(const Fd& parent, const VolumeId& id);

enum class RecordState : std::uint8_t { Missing, Unreadable, Readable }; // Unreadable: damaged, or of another version
struct FoundRecord {
    RecordState state = RecordState::Missing;
    VolumeRecord record; // if Readable
};
FoundRecord find_record(int directory, const VolumeId& id);
std::optional<VolumeRecord> record_in(int directory, const VolumeId& id); // if it is readable

// Sealed, and replaced as a whole. The directory is the caller's to sync.
Outcome<void> write_record(int directory, VolumeRecord record, kernel::Durability durability);

// None if there are none or they are damaged, which is logged.
SizedLabels labels_in(int directory, const VolumeId& id);
// Replaced as a whole; no labels are no file. On disk, but for the directory, which is the caller's to sync.
Outcome<void> write_labels(int directory, const VolumeId& id, const SizedLabels& labels);

// The labels first, and the record last: as long as it is there, what it is about is known.
Outcome<void> remove_own_files(int directory);

} // namespace joblet::worker
