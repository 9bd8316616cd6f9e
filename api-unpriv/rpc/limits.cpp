#include "api-unpriv/rpc/limits.h"

#include <span>

#include <fmt/format.h>

#include "api-unpriv/host/controllers.h"
#include "api-unpriv/rpc/answer.h"

namespace joblet::api {

protocol::IoLimits io_from(rpc::IoLimits::Reader io) {
    return {io.getReadBytes(), io.getWriteBytes(), io.getReadOperations(), io.getWriteOperations()};
}

WantedLimits limits_from(rpc::ResourceLimits::Reader limits) {
    return {limits.getMemoryBytes(), limits.getSwapBytes(), limits.getProcesses(), limits.getCpuMilli(), io_from(limits.getIo())};
}

void fill(rpc::IoLimits::Builder out, const protocol::IoLimits& io) {
    out.setReadBytes(io.read_bytes);
    out.setWriteBytes(io.write_bytes);
    out.setReadOperations(io.read_operations);
    out.setWriteOperations(io.write_operations);
}

void fill(rpc::EffectiveLimits::Builder out, const protocol::JobLimits& limits) {
    out.setMemoryBytes(limits.memory_bytes);
    out.setSwapBytes(limits.swap_bytes);
    out.setProcesses(limits.processes);
    out.setCpuMilli(limits.cpu_milli);
    fill(out.initIo(), limits.io);
    const auto known = std::span(limits.devices).first(limits.device_count);
    auto devices = out.initDevices(static_cast<unsigned>(known.size()));
    for (unsigned i = 0; i < devices.size(); ++i) {
        devices.set(i, text(fmt::format("{}:{}", known[i].major, known[i].minor)));
    }
    const auto names = controller_names(limits.controllers);
    auto controllers = out.initControllers(static_cast<unsigned>(names.size()));
    for (unsigned i = 0; i < controllers.size(); ++i) {
        controllers.set(i, text(names[i]));
    }
}

void fill(rpc::VolumeUsage::Builder out, const VolumeId& id, const protocol::Usage& usage) {
    out.setId(text(to_string(id)));
    out.setUsedBytes(usage.bytes);
    out.setSizeBytes(usage.bytes_limit);
    out.setSoftSizeBytes(usage.bytes_soft);
    out.setUsedInodes(usage.inodes);
    out.setInodes(usage.inodes_limit);
    out.setSoftInodes(usage.inodes_soft);
    out.setGraceEndsNs(usage.bytes_grace_ns);
    out.setInodesGraceEndsNs(usage.inodes_grace_ns);
}

} // namespace joblet::api
