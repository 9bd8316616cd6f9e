// Records as bytes on disk: sealed with a checksum, and believed only if it fits.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "broker-root/worker/orders.h"

namespace joblet::worker {

// Once, before the filter: the library asks the kernel for randomness and the processor for its abilities.
bool start_checksums();

// Pure: says nothing that a record of this version never says. The checksum is not looked at.
bool is_sound(const VolumeRecord& record);
bool is_sound(const JobRecord& record);

// Pure: empty, or a path that a volume may be mounted at besides /volumes/<name>.
bool is_mount_target(const TargetText& text);

void seal(VolumeRecord& record);
void seal(JobRecord& record);

// nullopt unless it has exactly that size and the right checksum, is sound, and about `id`.
std::optional<VolumeRecord> read_volume_record(std::span<const std::byte> bytes, const VolumeId& id);
std::optional<JobRecord> read_job_record(std::span<const std::byte> bytes, const JobId& id);

} // namespace joblet::worker
