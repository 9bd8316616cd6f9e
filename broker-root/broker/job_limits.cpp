#include "broker-root/broker/job_limits.h"

#include <algorithm>
#include <cerrno>

#include "broker-root/broker/news.h"
#include "broker-root/kernel/cgroup_limits.h"

namespace joblet::broker {

namespace {

using protocol::IoLimits;
using protocol::JobLimits;
using protocol::LimitKind;

std::uint64_t lower(std::uint64_t a, std::uint64_t b) {
    if (a == 0 || b == 0) {
        return std::max(a, b);
    }
    return std::min(a, b);
}

// One that a controller holds: from what is asked to what is held (0: not limited).
struct Resource {
    const JobResource& config;
    std::uint64_t asked; // 0: nothing
    std::uint32_t controller;
    LimitKind kind;
    Step step;
};

std::expected<std::uint64_t, protocol::Reply> plan_one(const Resource& resource, std::uint32_t controllers) {
    const std::uint64_t most = resource.config.most;
    const std::uint64_t value = resource.asked != 0 ? resource.asked : resource.config.value;
    if (most != 0 && value > most) {
        return std::unexpected(limit_refusal(resource.kind, most, 0, value));
    }
    if (value == 0 || (controllers & resource.controller) != 0) {
        return value;
    }
    if (resource.asked != 0 || resource.config.is_given) {
        return std::unexpected(refusal(Failure{ErrorCode::Unsupported, resource.step, 0}));
    }
    return 0; // built in, where it can be held
}

template <class T> std::expected<void, Failure> held(const kernel::Result<T>& written, Step step) {
    if (!written) {
        return std::unexpected(Failure{ErrorCode::Internal, step, written.error()});
    }
    return {};
}

} // namespace

IoLimits lowest(const IoLimits& a, const IoLimits& b) {
    return {lower(a.read_bytes, b.read_bytes), lower(a.write_bytes, b.write_bytes), lower(a.read_operations, b.read_operations),
            lower(a.write_operations, b.write_operations)};
}

IoLimits filled(const IoLimits& job, const IoLimits& volumes) {
    const auto first = [](std::uint64_t a, std::uint64_t b) { return a != 0 ? a : b; };
    return {first(job.read_bytes, volumes.read_bytes), first(job.write_bytes, volumes.write_bytes),
            first(job.read_operations, volumes.read_operations), first(job.write_operations, volumes.write_operations)};
}

std::expected<void, Failure> can_hold_io(const Host& host) {
    if ((host.controllers & protocol::kControllerIo) == 0) {
        return std::unexpected(Failure{ErrorCode::Unsupported, Step::SetIoLimit, 0});
    }
    if (host.device_count == 0) {
        return std::unexpected(Failure{ErrorCode::Unsupported, Step::FindDevices, 0});
    }
    return {};
}

std::expected<JobLimits, protocol::Reply> plan_limits(const protocol::StartJob& request, const BrokerConfig& config, const Host& host,
                                                      const IoLimits& volumes_io, bool on_disk) {
    JobLimits limits;
    const auto memory = plan_one(
        {config.memory, request.memory_bytes, protocol::kControllerMemory, LimitKind::Memory, Step::SetMemoryLimit}, host.controllers);
    const auto processes = plan_one(
        {config.processes, request.processes, protocol::kControllerPids, LimitKind::Processes, Step::SetProcessLimit}, host.controllers);
    const auto cpus =
        plan_one({config.cpus, request.cpu_milli, protocol::kControllerCpu, LimitKind::Cpus, Step::SetCpuLimit}, host.controllers);
    for (const auto* planned : {&memory, &processes, &cpus}) {
        if (!*planned) {
            return std::unexpected(planned->error());
        }
    }
    limits.memory_bytes = *memory;
    limits.processes = *processes;
    limits.cpu_milli = *cpus;
    if (request.swap_bytes != 0 && (host.controllers & protocol::kControllerMemory) == 0) {
        return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::SetMemoryLimit, 0}));
    }
    limits.swap_bytes = request.swap_bytes;
    limits.io = filled(request.io, volumes_io);
    if (limits.io != IoLimits{}) {
        if (!on_disk) { // what could be limited is not behind any volume of this job
            return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::FindDevices, ENODEV}));
        }
        if (const auto possible = can_hold_io(host); !possible) {
            return std::unexpected(refusal(possible.error()));
        }
    }
    if (on_disk) {
        add_devices(limits, host.store_devices());
    }
    limits.controllers = host.controllers;
    return limits;
}

void add_devices(JobLimits& limits, std::span<const protocol::Device> devices) {
    for (const auto& device : devices) {
        const auto known = std::span(limits.devices).first(limits.device_count);
        if (std::ranges::find(known, device) == known.end() && limits.device_count < limits.devices.size()) {
            limits.devices[limits.device_count++] = device;
        }
    }
}

std::expected<void, Failure> hold_io_limits(int group, const JobLimits& limits) {
    if (limits.io == IoLimits{}) {
        return {};
    }
    for (const auto& device : std::span(limits.devices).first(limits.device_count)) {
        if (auto done = held(kernel::set_io_max(group, device, limits.io), Step::SetIoLimit); !done) {
            return done;
        }
    }
    return {};
}

std::expected<void, Failure> hold_limits(int group, JobLimits& limits) {
    if (limits.memory_bytes != 0) {
        const auto set = kernel::set_memory_max(group, limits.memory_bytes);
        if (!set) {
            return held(set, Step::SetMemoryLimit);
        }
        limits.memory_bytes = *set;
    }
    if ((limits.controllers & protocol::kControllerMemory) != 0) {
        if (auto done = held(kernel::end_together(group), Step::SetMemoryLimit); !done) {
            return done;
        }
        const auto set = kernel::set_swap_max(group, limits.swap_bytes);
        if (!set) {
            return held(set, Step::SetMemoryLimit);
        }
        limits.swap_bytes = *set;
    }
    if (limits.processes != 0) {
        if (auto done = held(kernel::set_pids_max(group, limits.processes), Step::SetProcessLimit); !done) {
            return done;
        }
    }
    if (limits.cpu_milli != 0) {
        if (auto done = held(kernel::set_cpu_max(group, limits.cpu_milli), Step::SetCpuLimit); !done) {
            return done;
        }
    }
    return hold_io_limits(group, limits);
}

} // namespace joblet::broker
