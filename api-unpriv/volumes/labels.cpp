#include "api-unpriv/volumes/labels.h"

#include <algorithm>

#include <fmt/format.h>

#include "shared/protocol.h"

namespace joblet::api {

namespace {

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_key(std::string_view key) {
    return !key.empty() && key.size() <= kLabelKeyMax && is_letter_or_digit(key.front()) &&
           std::ranges::all_of(key, [](char c) { return is_letter_or_digit(c) || c == '_' || c == '.' || c == '/' || c == '-'; });
}

// RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF. 0 where no well-formed character begins.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const auto follows = [&](std::size_t i, unsigned char low, unsigned char high) {
        return i < text.size() && byte(i) >= low && byte(i) <= high;
    };
    const unsigned char first = byte(0);
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xC2 && first <= 0xDF) {
        return follows(1, 0x80, 0xBF) ? 2 : 0;
    }
    if (first >= 0xE0 && first <= 0xEF) {
        const unsigned char low = first == 0xE0 ? 0xA0 : 0x80;
        const unsigned char high = first == 0xED ? 0x9F : 0xBF;
        return follows(1, low, high) && follows(2, 0x80, 0xBF) ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        const unsigned char low = first == 0xF0 ? 0x90 : 0x80;
        const unsigned char high = first == 0xF4 ? 0x8F : 0xBF;
        return follows(1, low, high) && follows(2, 0x80, 0xBF) && follows(3, 0x80, 0xBF) ? 4 : 0;
    }
    return 0;
}

// C1 controls (U+0080 to U+009F) move cursors of some terminals as well as C0 do
bool is_value(std::string_view value) {
    if (value.size() > kLabelValueMax) {
        return false;
    }
    while (!value.empty()) {
        const std::size_t length = utf8_length(value);
        const auto first = static_cast<unsigned char>(value.front());
        if (length == 0 || first < 0x20 || first == 0x7F || (first == 0xC2 && static_cast<unsigned char>(value[1]) < 0xA0)) {
            return false;
        }
        value.remove_prefix(length);
    }
    return true;
}

} // namespace

std::expected<std::vector<std::uint8_t>, std::string> encode_labels(Labels labels) {
    std::ranges::sort(labels);
    std::vector<std::uint8_t> blob;
    for (std::size_t i = 0; i < labels.size(); ++i) {
        const auto& [key, value] = labels[i];
        if (!is_key(key)) {
            return std::unexpected(
                fmt::format("a label's key is 1 to {} characters, letters, digits, '_', '.', '/' and '-', beginning with a "
                            "letter or digit",
                            kLabelKeyMax));
        }
        if (!is_value(value)) {
            return std::unexpected(fmt::format("the value of label \"{}\" is not at most {} bytes of UTF-8 text without control characters",
                                               key, kLabelValueMax));
        }
        if (i > 0 && labels[i - 1].first == key) {
            return std::unexpected(fmt::format("label \"{}\" is given twice", key));
        }
        for (const auto* part : {&key, &value}) {
            blob.insert(blob.end(), part->begin(), part->end());
            blob.push_back(0);
        }
        if (blob.size() > protocol::kLabelsMax) {
            return std::unexpected(fmt::format("the labels of one volume have more than {} bytes in all", protocol::kLabelsMax));
        }
    }
    return blob;
}

std::optional<Labels> decode_labels(std::span<const std::uint8_t> blob) {
    Labels labels;
    auto next = blob.begin();
    const auto text = [&]() -> std::optional<std::string> {
        const auto end = std::find(next, blob.end(), std::uint8_t{0});
        if (end == blob.end()) {
            return std::nullopt;
        }
        std::string out(next, end);
        next = end + 1;
        return out;
    };
    while (next != blob.end()) {
        auto key = text();
        auto value = key ? text() : std::nullopt;
        if (!value || !is_key(*key) || !is_value(*value) || (!labels.empty() && labels.back().first >= *key)) {
            return std::nullopt;
        }
        labels.emplace_back(std::move(*key), std::move(*value));
    }
    return labels;
}

} // namespace joblet::api
