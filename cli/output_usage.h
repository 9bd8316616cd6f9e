// How full volumes are, as it is shown. Pure; every text ends with a newline.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "cli/arguments.h"

namespace joblet::cli {

struct UsageView {
    std::string id;
    std::string name;
    std::uint32_t owner = 0; // uid
    std::uint64_t used_bytes = 0;
    std::uint64_t size_bytes = 0; // limits: 0 is none
    std::uint64_t soft_size_bytes = 0;
    std::uint64_t used_inodes = 0;
    std::uint64_t inodes = 0;
    std::uint64_t soft_inodes = 0;
    std::int64_t grace_ends_ns = 0; // 0: not above the soft limit
    std::int64_t inodes_grace_ends_ns = 0;
};

// `owners`, `width`: as for lists of volumes. A list in every format, also of one volume.
std::string render_usage(std::span<const UsageView> volumes, Format format, bool owners, std::optional<unsigned> width);

} // namespace joblet::cli
