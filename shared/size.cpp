#include "shared/size.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>

namespace joblet {

namespace {

constexpr std::uint64_t kLargest = (std::uint64_t{1} << 63U) - 1;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

std::optional<std::uint64_t> unit_factor(std::string_view unit) {
    std::string lower(unit);
    std::ranges::transform(lower, lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    if (lower.empty() || lower == "b") {
        return 1;
    }
    struct Unit {
        char letter;
        std::uint64_t factor;
    };
    static constexpr std::array<Unit, 4> kUnits = {{{'k', kKiB}, {'m', kMiB}, {'g', kGiB}, {'t', kTiB}}};
    for (const auto& [letter, factor] : kUnits) {
        if (lower.front() == letter) {
            const std::string_view rest = std::string_view(lower).substr(1);
            return rest.empty() || rest == "b" || rest == "i" || rest == "ib" ? std::optional(factor) : std::nullopt;
        }
    }
    return std::nullopt;
}

// 128 bits hold a 64-bit number times the largest unit, and times ten for one more digit, without wrapping.
__extension__ using Wide = unsigned __int128;

} // namespace

std::string_view describe(SizeError error) {
    switch (error) {
    case SizeError::Empty:
        return "the size is empty";
    case SizeError::NotANumber:
        return "the size does not begin with a number";
    case SizeError::UnknownUnit:
        return "the unit is unknown";
    case SizeError::NotWhole:
        return "the size does not come to whole bytes";
    case SizeError::Zero:
        return "the size is zero";
    case SizeError::Overflow:
        return "the size is too large";
    }
    return "the size is malformed";
}

std::expected<std::uint64_t, SizeError> parse_size(std::string_view text) {
    if (text.empty()) {
        return std::unexpected(SizeError::Empty);
    }
    const auto integer_end = std::ranges::find_if_not(text, is_digit);
    const std::string_view integer = text.substr(0, static_cast<std::size_t>(integer_end - text.begin()));
    std::string_view rest = text.substr(integer.size());
    std::string_view fraction;
    if (rest.starts_with('.')) {
        rest.remove_prefix(1);
        fraction = rest.substr(0, static_cast<std::size_t>(std::ranges::find_if_not(rest, is_digit) - rest.begin()));
        rest.remove_prefix(fraction.size());
        if (fraction.empty()) {
            return std::unexpected(SizeError::NotANumber);
        }
    }
    if (integer.empty()) {
        return std::unexpected(SizeError::NotANumber);
    }
    const auto factor = unit_factor(rest);
    if (!factor) {
        return std::unexpected(SizeError::UnknownUnit);
    }
    Wide whole = 0;
    for (const char digit : integer) {
        whole = whole * 10 + static_cast<unsigned>(digit - '0');
        if (whole > kLargest) {
            return std::unexpected(SizeError::Overflow);
        }
    }
    // The fraction in bytes: digits are taken from the last to the first, so that what does not divide shows as a remainder.
    while (!fraction.empty() && fraction.back() == '0') {
        fraction.remove_suffix(1);
    }
    Wide numerator = 0;
    Wide denominator = 1;
    for (const char digit : fraction) {
        if (denominator > kLargest / 10) {
            return std::unexpected(SizeError::NotWhole); // 2^40, the largest unit, divides by no more than 10^40's powers of two
        }
        numerator = numerator * 10 + static_cast<unsigned>(digit - '0');
        denominator *= 10;
    }
    const Wide scaled = numerator * *factor;
    if (scaled % denominator != 0) {
        return std::unexpected(SizeError::NotWhole);
    }
    const Wide total = whole * *factor + scaled / denominator;
    if (total > kLargest) {
        return std::unexpected(SizeError::Overflow);
    }
    if (total == 0) {
        return std::unexpected(SizeError::Zero);
    }
    return static_cast<std::uint64_t>(total);
}

std::string format_size(std::uint64_t bytes) {
    static constexpr std::array<const char*, 6> kNames = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < kKiB) {
        return std::to_string(bytes) + " B";
    }
    std::size_t unit = 0;
    auto value = static_cast<double>(bytes) / 1024.0;
    // 1023.95 would print as "1024.0": the next unit reads better
    while (value >= 1023.95 && unit + 1 < kNames.size()) {
        value /= 1024.0;
        ++unit;
    }
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f %s", value, kNames[unit]);
    return text.data();
}

} // namespace joblet
