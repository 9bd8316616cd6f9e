#include "broker-root/worker/labels.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace joblet::worker {
namespace {

using Checksum = std::array<std::byte, kLabelsChecksum>;

Checksum checksum_of(const VolumeId& id, std::span<const std::byte> blob) {
    std::vector<std::byte> covered(sizeof id.bytes + blob.size());
    std::ranges::copy(std::as_bytes(std::span(id.bytes)), covered.begin());
    std::ranges::copy(blob, covered.begin() + sizeof id.bytes);
    Checksum out{};
    crypto_generichash(reinterpret_cast<unsigned char*>(out.data()), out.size(), reinterpret_cast<const unsigned char*>(covered.data()),
                       covered.size(), nullptr, 0);
    return out;
}

} // namespace

std::vector<std::byte> sealed_labels(const VolumeId& id, const SizedLabels& labels) {
    const auto blob = std::as_bytes(std::span(labels.bytes)).first(labels.size);
    std::vector<std::byte> out(blob.begin(), blob.end());
    std::ranges::copy(checksum_of(id, blob), std::back_inserter(out));
    return out;
}

std::optional<SizedLabels> read_labels(std::span<const std::byte> bytes, const VolumeId& id) {
    if (bytes.size() < kLabelsChecksum || bytes.size() > kLabelsFileMax) {
        return std::nullopt;
    }
    const auto blob = bytes.first(bytes.size() - kLabelsChecksum);
    if (!std::ranges::equal(checksum_of(id, blob), bytes.last(kLabelsChecksum))) {
        return std::nullopt;
    }
    SizedLabels out{.size = static_cast<std::uint32_t>(blob.size())};
    std::memcpy(out.bytes.data(), blob.data(), blob.size());
    return out;
}

} // namespace joblet::worker
