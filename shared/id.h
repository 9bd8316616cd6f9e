// Identifiers: 128 random bits, never a name, never a path. Each kind is a type of its own.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace joblet {

// Trivially copyable, 16 bytes, no padding: it crosses the boundary as it is. All zero means "none".
template <class Tag> struct Id {
    std::array<std::uint8_t, 16> bytes{};

    auto operator<=>(const Id&) const = default;
    [[nodiscard]] bool is_none() const {
        return *this == Id{};
    }
};

using VolumeId = Id<struct VolumeTag>;
using JobId = Id<struct JobTag>;

inline constexpr std::size_t kIdHexLength = 32;

// 32 lower-case hexadecimal digits. The array form does not allocate and ends with NUL, for file names.
std::array<char, kIdHexLength + 1> hex_digits(const std::array<std::uint8_t, 16>& bytes);
// nullopt unless exactly 32 lower-case hexadecimal digits.
std::optional<std::array<std::uint8_t, 16>> parse_hex_digits(std::string_view text);
// From getrandom(2); ends the process if the kernel cannot give randomness.
std::array<std::uint8_t, 16> random_bytes16();

template <class Tag> std::string to_string(const Id<Tag>& id) {
    return std::string(hex_digits(id.bytes).data(), kIdHexLength);
}
template <class IdType> std::optional<IdType> parse_id(std::string_view text) {
    const auto bytes = parse_hex_digits(text);
    if (!bytes) {
        return std::nullopt;
    }
    return IdType{*bytes};
}
template <class IdType> IdType make_random_id() {
    return IdType{random_bytes16()};
}

} // namespace joblet

template <class Tag> struct std::hash<joblet::Id<Tag>> {
    std::size_t operator()(const joblet::Id<Tag>& id) const noexcept {
        std::size_t out = 0; // the bytes are random: any eight of them are a hash
        for (std::size_t i = 0; i < sizeof out; ++i) {
            out = (out << 8U) | id.bytes[i];
        }
        return out;
    }
};
