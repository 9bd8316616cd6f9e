#include "broker-root/broker/job_plan.h"

#include <algorithm>

#include "broker-root/broker/news.h"
#include "broker-root/layout.h"

namespace joblet::broker {

namespace {

constexpr std::size_t kHostNameDigits = 12; // as container engines show ids

std::uint32_t launch_flags(std::uint32_t start_flags, protocol::ProcKind proc) {
    return ((start_flags & protocol::kStartDetached) != 0 ? spawner::kLaunchDetached : 0) |
           ((start_flags & protocol::kStartHostNetwork) != 0 ? spawner::kLaunchHostNetwork : 0) |
           (proc == protocol::ProcKind::Masked ? spawner::kLaunchMaskedProc : 0);
}

} // namespace

std::expected<JobPlan, protocol::Reply> plan_job(const protocol::StartJob& request, const BrokerConfig& config,
                                                 const std::set<std::string>& usable_bases) {
    const auto base = config.bases.find(request.base.string());
    if (base == config.bases.end()) {
        return std::unexpected(refusal(Failure{ErrorCode::NotFound, Step::BuildTemplate, 0}));
    }
    if (!usable_bases.contains(base->first)) {
        return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::BuildTemplate, 0}));
    }
    if ((request.flags & protocol::kStartHostNetwork) != 0 && !config.host_network) {
        return std::unexpected(refusal(ErrorCode::PermissionDenied));
    }
    JobPlan plan;
    plan.base = request.base;
    plan.proc = base->second.proc;
    plan.timeout_ns = request.timeout_ns;
    plan.user = request.user;
    plan.group = request.group;
    plan.start_flags = request.flags;
    plan.work_bytes = request.work_bytes != 0 ? request.work_bytes : config.work_bytes;
    plan.tmp_bytes = request.tmp_bytes != 0 ? request.tmp_bytes : config.tmp_bytes;
    const bool is_detached = (request.flags & protocol::kStartDetached) != 0;
    plan.log_bytes = !is_detached ? 0 : request.log_bytes != 0 ? request.log_bytes : config.log_bytes;
    struct Bound {
        protocol::LimitKind kind;
        std::uint64_t asked;
        std::uint64_t most;
    };
    for (const auto& [kind, asked, most] : {Bound{protocol::LimitKind::WorkSize, plan.work_bytes, config.work_bytes_max},
                                            Bound{protocol::LimitKind::TmpSize, plan.tmp_bytes, config.tmp_bytes_max},
                                            Bound{protocol::LimitKind::LogSize, plan.log_bytes, config.log_bytes_max}}) {
        if (asked > most) {
            return std::unexpected(limit_refusal(kind, most, 0, asked));
        }
    }
    return plan;
}

void name_job(JobPlan& plan, const worker::JobRecord& record, const NameText& host_name) {
    plan.record = record;
    plan.host_name = host_name.empty() ? NameText(to_string(record.id).substr(0, kHostNameDigits)) : host_name;
}

void add_volume(JobPlan& plan, const protocol::JobVolume& wanted, const worker::VolumeRecord& volume) {
    plan.volumes.push_back({wanted.id, volume.name, wanted.target, volume.size_bytes, volume.inodes, volume.backend, wanted.access});
    const std::size_t index = plan.record.volume_count++;
    plan.record.volumes[index] = wanted.id;
    plan.record.access[index] = wanted.access;
    plan.record.targets[index] = wanted.target;
}

worker::PrepareJob prepare_order(const JobPlan& plan, std::uint64_t shm_bytes, std::uint32_t slot_first) {
    worker::PrepareJob order;
    order.record = plan.record;
    order.base = plan.base;
    order.work_bytes = plan.work_bytes;
    order.tmp_bytes = plan.tmp_bytes;
    order.flags = (plan.start_flags & protocol::kStartReadOnlyWork) != 0 ? worker::kPrepareReadOnlyWork : 0;
    order.shm_bytes = shm_bytes;
    order.slot_first = slot_first;
    order.volume_owner = plan.volume_owner;
    order.volume_count = static_cast<std::uint32_t>(plan.volumes.size());
    std::ranges::copy(plan.volumes, order.volumes.begin());
    return order;
}

spawner::Launch launch_order(const JobPlan& plan) {
    spawner::Launch order;
    order.host_name = plan.host_name;
    order.kind = static_cast<worker::JobKind>(plan.record.kind);
    order.timeout_ns = plan.timeout_ns;
    order.log_bytes = plan.log_bytes;
    order.user = plan.user;
    order.group = plan.group;
    order.flags = launch_flags(plan.start_flags, plan.proc);
    order.volume_count = static_cast<std::uint32_t>(plan.volumes.size());
    order.label_owner = order.kind == worker::JobKind::System ? plan.volume_owner : plan.record.owner_uid;
    std::ranges::transform(plan.volumes, order.volumes.begin(),
                           [](const worker::MountVolume& volume) { return spawner::MountPoint{volume.name, volume.target}; });
    return order;
}

protocol::JobWorld world_of(const JobPlan& plan, std::uint64_t shm_bytes, std::uint32_t slot_first) {
    protocol::JobWorld world;
    world.work_bytes = plan.work_bytes;
    world.tmp_bytes = plan.tmp_bytes;
    world.shm_bytes = shm_bytes;
    world.log_bytes = plan.log_bytes;
    world.slot_first = slot_first;
    world.slot_ids = kSlotIds;
    world.proc = plan.proc;
    world.limits = plan.record.limits;
    return world;
}

} // namespace joblet::broker
