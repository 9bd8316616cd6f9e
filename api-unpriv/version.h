#pragma once

namespace joblet::api {

// JOBLET_VERSION comes from the project() line of the build.
inline constexpr const char* kSoftwareVersion = JOBLET_VERSION;

} // namespace joblet::api
