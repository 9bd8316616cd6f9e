// What a host lacks when it cannot hold something, in words.
#pragma once

#include <optional>
#include <string_view>

#include "shared/error.h"

namespace joblet::api {

// What to do about a step that failed with Unsupported. sys_errno 0: no kernel call failed. Never empty.
std::string_view what_is_missing(Step step, int sys_errno);

// Which limit of a job could not be held ("a limit of memory"), and by which controller of cgroup2 that is not there.
struct MissingController {
    std::string_view limit;
    std::string_view controller;
};
std::optional<MissingController> missing_controller(Step step, int sys_errno);

} // namespace joblet::api
