// From what a user asks for to what crosses the boundary.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "api-unpriv/errors.h"
#include "api-unpriv/jobs/job.h"
#include "shared/job_spec.h"
#include "shared/protocol.h"

namespace joblet::api {

inline constexpr std::string_view kDefaultBase = "minimal";
inline constexpr std::string_view kDefaultDirectory = "/work";

// PATH, HOME and, if it is known, HOSTNAME; then `added`, the last of each name.
std::vector<std::string> environment_of(std::string_view host_name, const std::vector<std::string>& added);

// Each is held by the kernel, or the job is refused. 0: as configured; of swap: none; of io: as its volumes have it.
struct WantedLimits {
    std::uint64_t memory_bytes = 0;
    std::uint64_t swap_bytes = 0; // besides memory
    std::uint64_t processes = 0;
    std::uint64_t cpu_milli = 0; // thousandths of one CPU
    protocol::IoLimits io;
};

// What is asked for of a job beside its command and its volumes. 0: as configured, or none.
struct JobOptions {
    std::uint32_t user = 0; // inside the job
    std::uint32_t group = 0;
    std::uint64_t timeout_ns = 0;
    std::uint64_t work_bytes = 0;
    std::uint64_t tmp_bytes = 0;
    std::uint64_t log_bytes = 0; // detached only
    WantedLimits limits;
    bool detached = false; // it has no control socket of its user's
    bool host_network = false;
    bool read_only_work = false;
    bool remove_at_end = false; // detached only
    bool dry_run = false;       // nothing is started, and no control socket is needed
};

// Base, host name and options by what they may be, then everything into the request. `volumes` were prepared.
Outcome<protocol::StartJob> start_request(std::string_view base, std::string_view host_name, const std::vector<UsedVolume>& volumes,
                                          const JobOptions& options);

// What history keeps of a command line: whole arguments, kCommandKept bytes.
std::vector<std::string> kept_command(const std::vector<std::string>& command);

} // namespace joblet::api
