#include "cli/job_parts.h"

namespace joblet::cli {
namespace {

std::string name_of(rpc::JobState state) {
    switch (state) {
    case rpc::JobState::STARTING:
        return "starting";
    case rpc::JobState::RUNNING:
        return "running";
    case rpc::JobState::ENDED:
        return "ended";
    case rpc::JobState::ANY:
        break;
    }
    return "unknown"; // of a daemon newer than this rnx
}

std::vector<std::string> texts_of(capnp::List<capnp::Text>::Reader list) {
    std::vector<std::string> texts;
    texts.reserve(list.size());
    for (const auto text : list) {
        texts.push_back(text_of(text));
    }
    return texts;
}

ExitView view_of(rpc::Exit::Reader exit) {
    constexpr unsigned kSigkill = 9;
    ExitView view;
    if (exit.getKind() == rpc::Exit::Kind::EXITED) {
        view.code = exit.getCode();
    } else if (exit.getKind() == rpc::Exit::Kind::SIGNALED) {
        view.signal = exit.getSignal();
    } else if (exit.getKind() == rpc::Exit::Kind::KILLED) {
        view.signal = kSigkill;
    }
    view.status = exit.getStatus();
    view.reason = text_of(exit.getReason());
    view.ended_ns = exit.getEndedNs();
    return view;
}

LimitsView view_of(rpc::EffectiveLimits::Reader limits) {
    return {.memory_bytes = limits.getMemoryBytes(),
            .swap_bytes = limits.getSwapBytes(),
            .processes = limits.getProcesses(),
            .cpu_milli = limits.getCpuMilli(),
            .io = io_of(limits.getIo()),
            .devices = texts_of(limits.getDevices()),
            .controllers = texts_of(limits.getControllers())};
}

} // namespace

JobView view_of(rpc::Job::Reader job) {
    JobView view;
    view.id = text_of(job.getId());
    view.name = text_of(job.getName());
    view.owner = job.getOwner();
    view.state = name_of(job.getState());
    view.started_ns = job.getStartedNs();
    if (job.hasExit() && job.getExit().getKind() != rpc::Exit::Kind::NONE) {
        view.exit = view_of(job.getExit());
    }
    view.command = texts_of(job.getCommand());
    view.base = text_of(job.getBase());
    for (const auto volume : job.getVolumes()) {
        view.volumes.push_back({.volume = text_of(volume.getVolume()),
                                .name = text_of(volume.getName()),
                                .target = text_of(volume.getTarget()),
                                .read_only = volume.getReadOnly()});
    }
    view.host_name = text_of(job.getHostName());
    if (job.hasLimits()) {
        view.limits = view_of(job.getLimits());
    }
    return view;
}

WorldView view_of(rpc::World::Reader world) {
    WorldView view;
    for (const auto mount : world.getMounts()) {
        view.mounts.push_back({.path = text_of(mount.getPath()),
                               .kind = text_of(mount.getKind()),
                               .size_bytes = mount.getSizeBytes(),
                               .read_only = mount.getReadOnly(),
                               .volume = text_of(mount.getVolume())});
    }
    view.uid_first = world.getUidFirst();
    view.uid_count = world.getUidCount();
    view.user = world.getUser();
    view.group = world.getGroup();
    view.host_name = text_of(world.getHostName());
    view.working_directory = text_of(world.getWorkingDirectory());
    view.environment = texts_of(world.getEnvironment());
    view.command = texts_of(world.getCommand());
    view.host_network = world.getNetwork() == rpc::RunRequest::Network::HOST;
    view.timeout_ns = world.getTimeoutNs();
    view.log_max_bytes = world.getLogMaxBytes();
    view.base = text_of(world.getBase());
    if (world.hasLimits()) {
        view.limits = view_of(world.getLimits());
    }
    return view;
}

void fill(rpc::JobSelector::Builder builder, const std::string& job, const Scope& scope) {
    builder.setJob(job);
    fill(builder.getScope(), scope);
}

} // namespace joblet::cli
