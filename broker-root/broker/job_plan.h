// From a request to start a job to what is ordered of a worker and of the spawner. Pure: who may have which volume, and which slot is
// free, was decided before.
#pragma once

#include <cstdint>
#include <expected>
#include <set>
#include <string>
#include <vector>

#include "broker-root/broker/config.h"
#include "broker-root/spawner/launch.h"
#include "broker-root/worker/orders.h"
#include "shared/protocol_messages.h"

namespace joblet::broker {

struct JobPlan {
    worker::JobRecord record;
    NameText base;
    NameText host_name;
    std::uint64_t timeout_ns = 0;
    std::uint64_t log_bytes = 0;
    std::uint32_t user = 0;
    std::uint32_t group = 0;
    std::uint32_t volume_owner = 0; // of a system job's volume
    std::uint32_t start_flags = 0;  // protocol::kStart…
    protocol::ProcKind proc = protocol::ProcKind::Pids;
    std::uint64_t work_bytes = 0;
    std::uint64_t tmp_bytes = 0;
    std::vector<worker::MountVolume> volumes;
};

// What of a request needs no volume and no slot: the base, and what is asked for beside it. Its record is still empty. A refusal: not
// to be had here, or above what a user may ask for.
std::expected<JobPlan, protocol::Reply> plan_job(const protocol::StartJob& request, const BrokerConfig& config,
                                                 const std::set<std::string>& usable_bases);

// Its record becomes `record`, which has no volumes yet and says what else is known; and its host name what was asked for or, where
// nothing was, the beginning of the id.
void name_job(JobPlan& plan, const worker::JobRecord& record, const NameText& host_name);

// Precondition: there is room for one more, and neither it nor its target is there already.
void add_volume(JobPlan& plan, const protocol::JobVolume& wanted, const worker::VolumeRecord& volume);

// Both decode where they are sent. slot_first: host uid of the job's 0.
worker::PrepareJob prepare_order(const JobPlan& plan, std::uint64_t shm_bytes, std::uint32_t slot_first);
spawner::Launch launch_order(const JobPlan& plan);

// What a job has by it, or would have. Bare of a reply.
protocol::JobWorld world_of(const JobPlan& plan, std::uint64_t shm_bytes, std::uint32_t slot_first);

} // namespace joblet::broker
