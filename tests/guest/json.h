// Just enough JSON to print one object: the guest has no library, because it must run in any root.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace guest {

inline std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte >= 0x7f) { // bytes, not characters: what is not ASCII reads as Latin-1
            char digits[8];
            std::snprintf(digits, sizeof digits, "\\u%04x", byte);
            out += digits;
        } else {
            out += c;
        }
    }
    return out + '"';
}

inline std::string number(std::int64_t value) {
    return std::to_string(value);
}

// {"a":1,"b":2} or [1,2]: values are JSON already.
class Collection {
  public:
    explicit Collection(char open) : close_(open == '{' ? '}' : ']') {
        text_ += open;
    }
    Collection& add(std::string_view json) {
        if (text_.size() > 1) {
            text_ += ',';
        }
        text_ += json;
        return *this;
    }
    Collection& add(std::string_view key, std::string_view json) {
        return add(quoted(key) + ":" + std::string(json));
    }
    [[nodiscard]] std::string json() const {
        return text_ + close_;
    }

  private:
    std::string text_;
    char close_;
};

inline Collection object() {
    return Collection('{');
}
inline Collection array() {
    return Collection('[');
}

} // namespace guest
