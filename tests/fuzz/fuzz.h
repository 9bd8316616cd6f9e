// What the fuzzers share. Each is one fuzz_NAME.cpp with LLVMFuzzerTestOneInput: it takes an input apart, hands it to what it
// tests, and holds the result against promises that are said once more here, in other words than the product's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace joblet::fuzz {

// Ends the fuzzer, which then keeps the input.
inline void require(bool holds, const char* promise) {
    if (!holds) {
        std::fprintf(stderr, "\n== broken promise: %s\n\n", promise);
        std::abort();
    }
}

// An input, taken from its beginning. What is missing is zero.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

    template <class T> T take() {
        static_assert(std::is_trivially_copyable_v<T>);
        T out{};
        const auto bytes = take_bytes(sizeof out);
        if (!bytes.empty()) {
            std::memcpy(&out, bytes.data(), bytes.size());
        }
        return out;
    }
    // At most so many.
    std::span<const std::uint8_t> take_bytes(std::size_t most) {
        const auto out = rest_.first(std::min(most, rest_.size()));
        rest_ = rest_.subspan(out.size());
        return out;
    }
    // Up to the next `end`, which is taken, too, or to the input's end.
    std::string_view take_text(char end) {
        const auto text = rest();
        const auto at = text.find(end);
        take_bytes(at == std::string_view::npos ? text.size() : at + 1);
        return text.substr(0, at);
    }
    [[nodiscard]] std::string_view rest() const {
        return {reinterpret_cast<const char*>(rest_.data()), rest_.size()};
    }
    [[nodiscard]] std::span<const std::byte> rest_bytes() const {
        return std::as_bytes(rest_);
    }
    [[nodiscard]] bool empty() const {
        return rest_.empty();
    }

  private:
    std::span<const std::uint8_t> rest_;
};

template <class T> bool same_bytes(const T& value, std::span<const std::byte> bytes) {
    static_assert(std::has_unique_object_representations_v<T>);
    return bytes.size() == sizeof value && std::memcmp(&value, bytes.data(), sizeof value) == 0;
}

} // namespace joblet::fuzz
