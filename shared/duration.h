// Spans of time as people write them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace joblet {

inline constexpr std::string_view kDurationForms = "a whole number with a unit: 90s, 10m, 24h, 7d, at most 36500d; or 0";

// One whole number and one unit of s, m, h, d; "0" needs none. nullopt for anything else, and above 36500 days.
std::optional<std::chrono::seconds> parse_duration(std::string_view text);

// What parse_duration takes, in the largest unit that is exact: "7d", "90s", "0".
std::string format_duration(std::chrono::seconds duration);

} // namespace joblet
