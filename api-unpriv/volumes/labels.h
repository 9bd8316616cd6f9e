// Labels of a volume. The API alone understands them; everybody else stores a blob.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace joblet::api {

// Sorted by key, each key once.
using Labels = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::size_t kLabelKeyMax = 63;    // bytes
inline constexpr std::size_t kLabelValueMax = 255; // bytes

// "key\0value\0…", sorted, at most protocol::kLabelsMax bytes. Takes labels in any order. An error is a sentence that says what
// is accepted.
std::expected<std::vector<std::uint8_t>, std::string> encode_labels(Labels labels);

// Exact inverse; nullopt for a blob that encode_labels would not have made.
std::optional<Labels> decode_labels(std::span<const std::uint8_t> blob);

} // namespace joblet::api
