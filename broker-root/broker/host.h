// What this host can hold, as found out at start: controllers by the broker, the rest by a worker.
#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <span>

#include "shared/protocol_messages.h"

namespace joblet::broker {

struct Host {
    std::uint32_t controllers = 0; // protocol::kController…: enabled for the groups of jobs
    std::uint32_t flags = 0;       // protocol::kHostNoSwap, kHostOnlineGrow
    std::uint32_t store_magic = 0; // f_type of the store's file system
    int btrfs_errno = ENOTTY;      // see worker::VolumesLoaded
    int quota_errno = ENOTTY;
    std::array<protocol::Device, protocol::kStoreDevicesMax> devices{};
    std::uint32_t device_count = 0; // whole ones below the store; 0: not known, and limits of I/O are refused

    [[nodiscard]] std::span<const protocol::Device> store_devices() const {
        return std::span(devices).first(device_count);
    }
};

} // namespace joblet::broker
