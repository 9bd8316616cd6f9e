// Labels. The input is once the blob that is stored, and once, cut at its newlines, the labels that somebody sets: key, value, key, …
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "api-unpriv/volumes/labels.h"
#include "shared/protocol.h"
#include "tests/fuzz/fuzz.h"

using namespace joblet;
using joblet::fuzz::require;

namespace {

constexpr std::string_view kAlphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

bool is_key(std::string_view text) {
    return !text.empty() && text.size() <= 63 && text.find_first_not_of(std::string(kAlphanumeric) + "_./-") == std::string_view::npos &&
           kAlphanumeric.find(text.front()) != std::string_view::npos;
}

// Text by the judgement of the JSON library, which is what shows it.
bool is_value(const std::string& text) {
    if (text.size() > 255 || std::ranges::any_of(text, [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; })) {
        return false;
    }
    for (std::size_t i = 0; i + 1 < text.size(); ++i) { // U+0080 … U+009F
        if (text[i] == '\xc2' && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
            return false;
        }
    }
    try {
        return nlohmann::json::parse(nlohmann::json(text).dump()) == text;
    } catch (const nlohmann::json::exception&) {
        return false;
    }
}

void check_sound(const api::Labels& labels) {
    for (std::size_t i = 0; i < labels.size(); ++i) {
        require(is_key(labels[i].first), "a key is what its grammar says");
        require(is_value(labels[i].second), "a value is UTF-8 without control characters");
        require(i == 0 || labels[i - 1].first < labels[i].first, "labels are sorted, each key once");
    }
}

void check_blob(std::span<const std::uint8_t> blob) {
    const auto labels = api::decode_labels(blob);
    if (!labels) {
        return;
    }
    check_sound(*labels);
    const auto again = api::encode_labels(*labels);
    require(again && std::ranges::equal(*again, blob), "a blob that is read is written as the same bytes");
}

void check_wanted(fuzz::Input input) {
    api::Labels labels;
    std::map<std::string, std::string> wanted;
    std::size_t bytes = 0;
    bool sound = true;
    while (!input.empty()) {
        const std::string key(input.take_text('\n'));
        const std::string value(input.take_text('\n'));
        sound = sound && is_key(key) && is_value(value) && wanted.emplace(key, value).second;
        bytes += key.size() + value.size() + 2;
        labels.emplace_back(key, value);
    }
    const auto blob = api::encode_labels(labels);
    require(blob.has_value() == (sound && bytes <= protocol::kLabelsMax), "labels are taken if each is sound, and all together fit");
    if (!blob) {
        require(!blob.error().empty(), "refused labels are explained");
        return;
    }
    require(blob->size() == bytes, "a blob has each text and its end");
    const auto back = api::decode_labels(*blob);
    require(back &&
                std::ranges::equal(*back, wanted, [](const auto& a, const auto& b) { return a.first == b.first && a.second == b.second; }),
            "labels come back as they were set");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check_blob(std::span(data, std::min(size, protocol::kLabelsMax)));
    check_wanted(fuzz::Input(data, size));
    return 0;
}
