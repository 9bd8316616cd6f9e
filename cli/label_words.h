// Labels as they are typed. Only for arguments*.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"

namespace joblet::cli {

inline constexpr std::string_view kLabelKeyForms =
    "1 to 63 characters, letters, digits, '_', '.', '/' and '-', beginning with a letter or digit";

// These throw Refused. What a value may be is left to the daemon.

// "KEY=VALUE" each, no key twice.
std::vector<Label> take_labels(std::span<const std::string> words);
// "KEY" or "KEY=VALUE" each.
std::vector<LabelFilter> take_label_filters(std::span<const std::string> words);
// "KEY=VALUE" or, to remove it, "KEY-", each; no key twice. Precondition: at least one word.
VolumeLabel take_label_changes(std::string name, std::span<const std::string> words);

} // namespace joblet::cli
