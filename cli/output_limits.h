// Limits, as they are shown of volumes and of jobs. Only for output*.cpp.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/output_job.h"
#include "cli/structured.h"

namespace joblet::cli {

// Null for each that there is not.
Json io_json(const protocol::IoLimits& io);
// "10.0 MiB/s, 100 operations/s", or "not limited"
std::string reads_text(const protocol::IoLimits& io);
std::string writes_text(const protocol::IoLimits& io);

// Null where the daemon does not tell.
Json limits_json(const std::optional<LimitsView>& limits);
// Keys and values for people; none where the daemon does not tell.
std::vector<std::pair<std::string, std::string>> limit_lines(const std::optional<LimitsView>& limits);

} // namespace joblet::cli
