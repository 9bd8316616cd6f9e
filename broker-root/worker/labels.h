// A volume's labels as bytes on disk: the blob, and a checksum over it and the volume's id. They stand beside the record and are
// replaced without it; what is damaged counts as no labels, and costs nobody the volume.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "broker-root/worker/orders.h"

namespace joblet::worker {

inline constexpr std::size_t kLabelsChecksum = 16; // BLAKE2b-128
inline constexpr std::size_t kLabelsFileMax = protocol::kLabelsMax + kLabelsChecksum;

struct SizedLabels {
    std::uint32_t size = 0;
    Labels bytes{}; // `size` of it, then zero
};

// start_checksums() was called.
std::vector<std::byte> sealed_labels(const VolumeId& id, const SizedLabels& labels);
// nullopt if these are not what sealed_labels() gives for this volume.
std::optional<SizedLabels> read_labels(std::span<const std::byte> bytes, const VolumeId& id);

} // namespace joblet::worker
