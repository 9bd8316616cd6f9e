#include "shared/id.h"

#include <sys/random.h>

#include <cstdlib>

namespace joblet {

namespace {
constexpr std::string_view kDigits = "0123456789abcdef";
}

std::array<char, kIdHexLength + 1> hex_digits(const std::array<std::uint8_t, 16>& bytes) {
    std::array<char, kIdHexLength + 1> text{};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        text[2 * i] = kDigits[bytes[i] >> 4U];
        text[2 * i + 1] = kDigits[bytes[i] & 15U];
    }
    return text;
}

std::optional<std::array<std::uint8_t, 16>> parse_hex_digits(std::string_view text) {
    if (text.size() != kIdHexLength) {
        return std::nullopt;
    }
    std::array<std::uint8_t, 16> bytes{};
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto digit = kDigits.find(text[i]);
        if (digit == std::string_view::npos) {
            return std::nullopt;
        }
        bytes[i / 2] = static_cast<std::uint8_t>((static_cast<unsigned>(bytes[i / 2]) << 4U) | static_cast<unsigned>(digit));
    }
    return bytes;
}

std::array<std::uint8_t, 16> random_bytes16() {
    std::array<std::uint8_t, 16> bytes{};
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
        std::abort(); // an id that is not random would be worse than none
    }
    return bytes;
}

} // namespace joblet
