// Sizes as people write them.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace joblet {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = kKiB * 1024;
inline constexpr std::uint64_t kGiB = kMiB * 1024;
inline constexpr std::uint64_t kTiB = kGiB * 1024;

inline constexpr std::string_view kSizeForms = "a number above zero, whole or decimal, with an optional unit: 512, 10KB, 5MB, 1GB, 100Mi, "
                                               "2Gi, 1.5TiB (powers of 1024, at most 8191 PiB)";

enum class SizeError : std::uint8_t { Empty, NotANumber, UnknownUnit, NotWhole, Zero, Overflow };
// One sentence without a full stop, for example "the unit is unknown".
std::string_view describe(SizeError error);

// Units K/M/G/T, KB…TB, Ki…Ti, KiB…TiB and B, in any case, all powers of 1024; a decimal number must come to whole
// bytes. Zero is refused, and whatever is above 2^63 - 1 (what file systems can count).
std::expected<std::uint64_t, SizeError> parse_size(std::string_view text);

// For people: "512 B", "1.0 MiB", "1.5 GiB".
std::string format_size(std::uint64_t bytes);

} // namespace joblet
