#include "cli/label_words.h"

#include <algorithm>
#include <utility>

#include "cli/grammar.h"

namespace joblet::cli {
namespace {

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// As schema/joblet.capnp, Label.key
bool is_valid_key(std::string_view key) {
    constexpr std::size_t kKeyMax = 63;
    return !key.empty() && key.size() <= kKeyMax && is_letter_or_digit(key.front()) &&
           std::ranges::all_of(key, [](char c) { return is_letter_or_digit(c) || c == '_' || c == '.' || c == '/' || c == '-'; });
}

std::string take_key(std::string_view word, std::string_view key) {
    if (!is_valid_key(key)) {
        throw Refused{invalid("the label " + in_quotes(word) + " is not valid: " + in_quotes(key) + " is no key",
                              "a key has " + std::string(kLabelKeyForms))};
    }
    return std::string(key);
}

// The part before the first '=', and the part after it if there is one.
LabelFilter split(std::string_view word) {
    const auto equals = word.find('=');
    LabelFilter parts{take_key(word, word.substr(0, equals)), std::nullopt};
    if (equals != std::string_view::npos) {
        parts.value = word.substr(equals + 1);
    }
    return parts;
}

class Keys {
  public:
    void add(const std::string& key) {
        if (std::ranges::find(keys_, key) != keys_.end()) {
            throw Refused{invalid("the label " + in_quotes(key) + " is given twice", "give each label once")};
        }
        keys_.push_back(key);
    }

  private:
    std::vector<std::string> keys_;
};

} // namespace

std::vector<Label> take_labels(std::span<const std::string> words) {
    std::vector<Label> labels;
    Keys keys;
    for (const auto& word : words) {
        auto [key, value] = split(word);
        if (!value) {
            throw Refused{invalid("the label " + in_quotes(word) + " has no value", "write KEY=VALUE; KEY= is one with an empty value")};
        }
        keys.add(key);
        labels.emplace_back(std::move(key), std::move(*value));
    }
    return labels;
}

std::vector<LabelFilter> take_label_filters(std::span<const std::string> words) {
    std::vector<LabelFilter> filters;
    filters.reserve(words.size());
    for (const auto& word : words) {
        filters.push_back(split(word));
    }
    return filters;
}

VolumeLabel take_label_changes(std::string name, std::span<const std::string> words) {
    VolumeLabel changes{.name = std::move(name), .set = {}, .remove = {}};
    Keys keys;
    for (const std::string_view word : words) {
        if (word.contains('=')) {
            auto [key, value] = split(word);
            keys.add(key);
            changes.set.emplace_back(std::move(key), std::move(*value));
        } else if (word.ends_with('-')) {
            auto key = take_key(word, word.substr(0, word.size() - 1));
            keys.add(key);
            changes.remove.push_back(std::move(key));
        } else {
            throw Refused{invalid("the word " + in_quotes(word) + " neither sets a label nor removes one",
                                  "write KEY=VALUE to set it, KEY- to remove it")};
        }
    }
    return changes;
}

} // namespace joblet::cli
