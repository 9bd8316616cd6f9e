// From what a user asks for to what crosses the boundary.
#pragma once

#include <string_view>
#include <vector>

#include "api-unpriv/errors.h"
#include "api-unpriv/jobs/job.h"
#include "shared/fd.h"
#include "shared/job_spec.h"
#include "shared/protocol.h"

namespace joblet::api {

inline constexpr std::string_view kDefaultBase = "minimal";
inline constexpr std::string_view kDefaultDirectory = "/work";

// PATH, HOME and, if it is known, HOSTNAME; then `added`, the last of each name.
std::vector<std::string> environment_of(std::string_view host_name, const std::vector<std::string>& added);

// Base and host name by their grammar, then everything into the request. `volumes` were prepared.
Outcome<protocol::StartJob> start_request(std::string_view base, std::string_view host_name, const std::vector<UsedVolume>& volumes);

// What history keeps of a command line: whole arguments, kCommandKept bytes.
std::vector<std::string> kept_command(const std::vector<std::string>& command);

} // namespace joblet::api
