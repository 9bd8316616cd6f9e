// Orders about sizes, and the system jobs that resize an image.
#pragma once

#include <doctest/doctest.h>

#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "tests/boundary/worker_harness.h"

namespace joblet::testing {

inline worker::VolumeMeasured answer_of(const WorkerProcess::Reply& reply) {
    worker::VolumeMeasured out;
    REQUIRE(reply.bytes.size() == sizeof out);
    std::memcpy(&out, reply.bytes.data(), sizeof out);
    return out;
}

// mount_namespace: of a job that has it, or -1.
inline worker::VolumeMeasured measure(WorkerProcess& worker, const worker::VolumeRecord& record, int mount_namespace = -1) {
    return answer_of(worker.order(worker::MeasureVolume{.record = record}, std::span(&mount_namespace, mount_namespace < 0 ? 0 : 1)));
}
inline worker::VolumeMeasured resize(WorkerProcess& worker, const worker::VolumeRecord& record, int mount_namespace = -1) {
    return answer_of(worker.order(worker::ResizeVolume{.record = record}, std::span(&mount_namespace, mount_namespace < 0 ? 0 : 1)));
}

// As on disk.
inline worker::VolumeRecord record_of(WorkerProcess& worker, const VolumeId& id) {
    const auto all = worker.load_volumes();
    const auto found = std::ranges::find(all, id, [](const auto& volume) { return volume.record.id; });
    REQUIRE(found != all.end());
    return found->record;
}

} // namespace joblet::testing
