#include "api-unpriv/jobs/world.h"

#include <algorithm>
#include <utility>

namespace joblet::api {

PlannedWorld world_of(const protocol::JobWorld& granted, const Job& job, const JobOptions& options, JobSpec spec,
                      const VolumeIndex& volumes) {
    PlannedWorld world;
    world.uid_first = granted.slot_first;
    world.uid_count = granted.slot_ids;
    world.log_bytes = granted.log_bytes;
    world.limits = granted.limits;
    world.options = options;
    world.spec = std::move(spec);
    world.host_name = job.host_name;
    world.base = job.base;
    world.mounts = {
        {"/", "base", 0, true, {}},
        {"/dev", "devices", 0, true, {}},
        {"/dev/pts", "terminals", 0, false, {}},
        {"/dev/shm", "memory", granted.shm_bytes, false, {}},
        {"/proc", "proc", 0, true, {}},
        {"/tmp", "memory", granted.tmp_bytes, false, {}},
        {"/work", "memory", granted.work_bytes, options.read_only_work, {}},
    };
    for (const auto& used : job.volumes) {
        const Volume* known = volumes.find(used.id);
        const std::uint64_t size = known != nullptr ? known->entry.size_bytes : 0;
        world.mounts.push_back({"/volumes/" + used.name, "volume", size, used.read_only, used.name});
        if (!used.target.empty()) {
            world.mounts.push_back({used.target, "volume", size, used.read_only, used.name});
        }
    }
    std::ranges::sort(world.mounts, {}, &PlannedWorld::Mount::path);
    return world;
}

} // namespace joblet::api
