// Short text that crosses the boundary: a fixed array, NUL-padded to its end, never trusted to end.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace joblet {

// Capacity includes at least one NUL. Trivially copyable, no padding.
template <std::size_t Capacity> struct FixedText {
    std::array<char, Capacity> data{};

    FixedText() = default;
    // Precondition: text.size() < Capacity (checked by whoever validates the text; longer text is cut).
    explicit FixedText(std::string_view text) {
        std::copy_n(text.begin(), std::min(text.size(), Capacity - 1), data.begin());
    }

    bool operator==(const FixedText&) const = default;
    [[nodiscard]] std::string_view view() const {
        return {data.data(), static_cast<std::size_t>(std::find(data.begin(), data.end(), '\0') - data.begin())};
    }
    [[nodiscard]] std::string string() const {
        return std::string(view());
    }
    [[nodiscard]] bool empty() const {
        return data[0] == '\0';
    }
    // True if it ends inside the array and everything after the end is NUL: one text, one representation.
    [[nodiscard]] bool well_formed() const {
        const auto end = std::find(data.begin(), data.end(), '\0');
        return end != data.end() && std::all_of(end, data.end(), [](char c) { return c == '\0'; });
    }
};

} // namespace joblet
