// What a job would have, for whoever asks before starting it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api-unpriv/jobs/job.h"
#include "api-unpriv/jobs/request.h"
#include "api-unpriv/volumes/index.h"
#include "shared/job_spec.h"

namespace joblet::api {

struct PlannedWorld {
    struct Mount {
        std::string path;
        std::string_view kind; // as struct World of the schema has it
        std::uint64_t size_bytes = 0;
        bool read_only = false;
        std::string volume;
    };
    std::vector<Mount> mounts; // by path
    std::uint32_t uid_first = 0;
    std::uint32_t uid_count = 0;
    std::uint64_t log_bytes = 0; // 0: no log
    protocol::JobLimits limits;  // the loop devices of its volumes are not known yet
    JobOptions options;
    JobSpec spec;
    std::string host_name;
    std::string base;
};

// Pure: from what the broker would grant and what was asked for. `volumes` has their sizes.
PlannedWorld world_of(const protocol::JobWorld& granted, const Job& job, const JobOptions& options, JobSpec spec,
                      const VolumeIndex& volumes);

} // namespace joblet::api
