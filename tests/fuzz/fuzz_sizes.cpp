// Sizes, durations and ids as people write them. The input is the text.
#include <cctype>
#include <cmath>
#include <string>

#include "shared/duration.h"
#include "shared/id.h"
#include "shared/size.h"
#include "tests/fuzz/fuzz.h"

using namespace joblet;
using joblet::fuzz::require;

namespace {

constexpr std::uint64_t kLargest = (std::uint64_t{1} << 63U) - 1;

// The parts of a size that was taken.
struct Parts {
    std::string number; // "1.5"
    std::string unit;   // "KiB"
    std::uint64_t factor = 1;
};

Parts parts_of(const std::string& text) {
    Parts parts;
    const auto end = std::min(text.find_first_not_of("0123456789."), text.size());
    parts.number = text.substr(0, end);
    parts.unit = text.substr(end);
    const char letter = parts.unit.empty() ? 'b' : static_cast<char>(std::tolower(static_cast<unsigned char>(parts.unit[0])));
    const auto power = std::string_view("bkmgt").find(letter);
    require(power != std::string_view::npos, "a size that is taken has a unit that is known");
    parts.factor = std::uint64_t{1} << (10U * power);
    return parts;
}

bool is_same(const std::string& text, std::uint64_t bytes) {
    const auto again = parse_size(text);
    return again && *again == bytes;
}

void check_format(std::uint64_t bytes) {
    const std::string shown = format_size(bytes);
    const auto space = shown.find(' ');
    require(space != std::string::npos, "a size is shown as a number and a unit");
    const auto power = std::string_view("BKMGTPE").find(shown[space + 1]);
    require(power != std::string_view::npos, "a size is shown with a unit that is known");
    const long double unit = std::exp2(10.0L * static_cast<long double>(power));
    const long double there = std::strtold(shown.c_str(), nullptr) * unit;
    require(std::fabs(there - static_cast<long double>(bytes)) <= 0.0501L * unit, "a size is shown to a tenth of its unit");
}

void check_size(const std::string& text) {
    const auto size = parse_size(text);
    if (!size) {
        require(!describe(size.error()).empty(), "a refused size is explained");
        return;
    }
    require(*size > 0 && *size <= kLargest, "a size is 1 … 2^63 - 1");
    const Parts parts = parts_of(text);
    const long double value = std::strtold(parts.number.c_str(), nullptr) * static_cast<long double>(parts.factor);
    require(std::fabs(value - static_cast<long double>(*size)) <= 0.5L + value * 1e-17L, "a size is its number times its unit");
    require(is_same(std::to_string(*size), *size), "a size is the same in bytes");
    require(is_same("0" + text, *size), "a zero before it changes nothing");
    const std::string zero = parts.number.find('.') == std::string::npos ? ".0" : "0";
    require(is_same(parts.number + zero + parts.unit, *size), "a zero behind it changes nothing");
    if (parts.factor != 1) {
        const std::string letter(1, parts.unit[0]);
        for (const char* form : {"", "B", "i", "iB", "IB", "b"}) {
            require(is_same(parts.number + letter + form, *size), "all forms of one unit are the same");
        }
    }
    check_format(*size);
}

void check_duration(std::string_view text) {
    const auto duration = parse_duration(text);
    if (!duration) {
        return;
    }
    require(duration->count() >= 0 && duration->count() <= std::int64_t{36500} * 86400, "a duration is 0 … 36500 days");
    const auto again = parse_duration(format_duration(*duration));
    require(again && *again == *duration, "a duration that is shown is taken again");
    if (text != "0") {
        require(text.size() >= 2 && text.find_first_not_of("0123456789") == text.size() - 1, "a duration is a number and a unit");
        std::int64_t unit = 1;
        for (const auto& [letter, seconds] : {std::pair{'m', 60}, std::pair{'h', 3600}, std::pair{'d', 86400}}) {
            unit = text.back() == letter ? seconds : unit;
        }
        const long double number = std::strtold(std::string(text.substr(0, text.size() - 1)).c_str(), nullptr);
        require(number * static_cast<long double>(unit) == static_cast<long double>(duration->count()),
                "a duration is its number times its unit");
    }
}

void check_id(std::string_view text) {
    if (const auto id = parse_id<VolumeId>(text)) {
        require(to_string(*id) == text, "an id has one form");
    } else {
        const bool is_hex = text.size() == kIdHexLength && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
        require(!is_hex, "32 lower-case digits are an id");
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    check_size(text);
    check_duration(text);
    check_id(text);
    fuzz::Input input(data, size);
    check_format(input.take<std::uint64_t>());
    return 0;
}
