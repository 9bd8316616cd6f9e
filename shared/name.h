// Grammars of the few texts that users choose and that cross the boundary: names and targets.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "shared/text.h"

namespace joblet {

inline constexpr std::size_t kNameMax = 63;    // bytes; as a DNS label, so that a host name fits the same grammar
inline constexpr std::size_t kTargetMax = 127; // bytes
using NameText = FixedText<kNameMax + 1>;
using TargetText = FixedText<kTargetMax + 1>;

// [A-Za-z0-9][A-Za-z0-9_.-]{0,62}
bool is_valid_name(std::string_view text);
inline constexpr std::string_view kNameForms = "1 to 63 characters, letters, digits, '_', '.' and '-', beginning with a letter or digit";

// Where a volume appears in a job: absolute, normal (no empty, '.' or '..' component, no trailing slash), printable ASCII
// without space, 2 to 127 bytes. Does not look at reserved names; see reserved_by.
bool is_valid_target(std::string_view text);
inline constexpr std::string_view kTargetForms =
    "an absolute path of at most 127 printable characters without spaces, '//', '.' or '..', for example /data";

// The reserved directory that `target` is, or lies below; nullopt if it is free to use. Reserved are the job's own
// directories (/proc /sys /dev /volumes /work /tmp) and those of the base (/bin /sbin /lib /lib64 /usr /etc).
std::optional<std::string_view> reserved_by(std::string_view target);

// True if one of the two is, or lies below, the other.
bool targets_overlap(std::string_view a, std::string_view b);

} // namespace joblet
