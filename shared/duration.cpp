#include "shared/duration.h"

#include <array>
#include <charconv>
#include <cstdint>

namespace joblet {

namespace {

struct Unit {
    char letter;
    std::int64_t seconds;
};
constexpr std::array kUnits = {Unit{'d', 86400}, Unit{'h', 3600}, Unit{'m', 60}, Unit{'s', 1}};
constexpr std::int64_t kMost = 36500 * kUnits.front().seconds; // in nanoseconds still far from 2^63

} // namespace

std::optional<std::chrono::seconds> parse_duration(std::string_view text) {
    if (text == "0") {
        return std::chrono::seconds(0);
    }
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end + 1 != text.data() + text.size()) {
        return std::nullopt;
    }
    for (const auto& [letter, seconds] : kUnits) {
        if (*end == letter && number <= static_cast<std::uint64_t>(kMost / seconds)) {
            return std::chrono::seconds(static_cast<std::int64_t>(number) * seconds);
        }
    }
    return std::nullopt;
}

std::string format_duration(std::chrono::seconds duration) {
    for (const auto& [letter, seconds] : kUnits) {
        if (duration.count() != 0 && duration.count() % seconds == 0) {
            return std::to_string(duration.count() / seconds) + letter;
        }
    }
    return "0";
}

} // namespace joblet
