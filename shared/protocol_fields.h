// What single fields of requests and messages must be, and of what is kept of them. For decoders alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "shared/protocol_messages.h"

namespace joblet::protocol {

inline bool known(VolumeType type) {
    return type == VolumeType::Filesystem || type == VolumeType::Memory;
}
inline bool known(Access access) {
    return access == Access::ReadWrite || access == Access::ReadOnly;
}
inline bool known(Authority authority) {
    return authority == Authority::User || authority == Authority::Admin;
}
inline bool known(VolumeStatus status) {
    return status >= VolumeStatus::Available && status <= VolumeStatus::Quarantined;
}
inline bool known(Backend backend) {
    switch (backend) {
    case Backend::Auto:
    case Backend::Image:
    case Backend::Tmpfs:
    case Backend::ProjectQuota:
    case Backend::Btrfs:
        return true;
    }
    return false;
}
inline bool fits(Backend backend, VolumeType type) {
    switch (backend) {
    case Backend::Auto:
        return true;
    case Backend::Image:
    case Backend::ProjectQuota:
    case Backend::Btrfs:
        return type == VolumeType::Filesystem;
    case Backend::Tmpfs:
        return type == VolumeType::Memory;
    }
    return false;
}
inline bool is_name(const NameText& text) {
    return text.well_formed() && is_valid_name(text.view());
}
inline bool is_free_target(const TargetText& text) {
    return text.well_formed() && (text.empty() || (is_valid_target(text.view()) && !reserved_by(text.view())));
}
inline bool labels_fit(std::span<const std::uint8_t> labels, std::uint32_t size) {
    return size <= labels.size() && std::ranges::all_of(labels.subspan(size), [](std::uint8_t byte) { return byte == 0; });
}
inline bool are_io_limits(const IoLimits& io) {
    const auto bytes = [](std::uint64_t value) { return value == 0 || (value >= kIoBytesMin && value <= kIoLimitMax); };
    const auto operations = [](std::uint64_t value) { return value == 0 || (value >= kIoOperationsMin && value <= kIoLimitMax); };
    return bytes(io.read_bytes) && bytes(io.write_bytes) && operations(io.read_operations) && operations(io.write_operations);
}
inline bool are_job_limits(const JobLimits& l) {
    return (l.controllers & ~kControllersAll) == 0 && l.device_count <= kDevicesMax && are_io_limits(l.io) &&
           (l.memory_bytes == 0 || (l.controllers & kControllerMemory) != 0) &&
           (l.processes == 0 || (l.controllers & kControllerPids) != 0) && (l.cpu_milli == 0 || (l.controllers & kControllerCpu) != 0) &&
           (l.io == IoLimits{} || (l.controllers & kControllerIo) != 0);
}
// hard 0: the backend's default, which nobody knows here
inline bool is_soft_limit(std::uint64_t soft, std::uint64_t hard) {
    return soft == 0 || hard == 0 || soft < hard;
}

} // namespace joblet::protocol
