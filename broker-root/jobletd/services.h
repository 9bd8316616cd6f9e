// The processes that jobletd starts: one table.
#pragma once

#include <linux/capability.h>

#include <array>
#include <cstdint>

#include "broker-root/jobletd/supervision.h"

namespace joblet::jobletd {

using CapabilityMask = std::uint64_t;

constexpr CapabilityMask bit(int capability) {
    return CapabilityMask{1} << static_cast<unsigned>(capability);
}

enum class RunAs : std::uint8_t { Root, ApiUser };

struct Service {
    Role role;
    const char* program; // beside jobletd
    RunAs user;
    // Bounding set at its start. It drops most of it by itself, as soon as it has made what needs them; SETPCAP is for that.
    CapabilityMask capabilities;
    // And what it may take up for single calls, where the machine has it: it serves without, and says what it then cannot do.
    CapabilityMask on_demand = 0;
};

inline constexpr std::array kServices = {
    Service{Role::Broker, "joblet-broker", RunAs::Root, bit(CAP_CHOWN) | bit(CAP_SETPCAP)}, // CHOWN: group of the socket
    Service{Role::Worker, "joblet-worker", RunAs::Root,
            bit(CAP_SYS_ADMIN) | bit(CAP_SYS_CHROOT) | bit(CAP_CHOWN) | bit(CAP_SETPCAP) | bit(CAP_MKNOD), // MKNOD: a job's /dev
            bit(CAP_SYS_RESOURCE) | bit(CAP_DAC_READ_SEARCH)}, // to grow the file system of a volume that is attached
    Service{Role::Spawner, "joblet-spawner", RunAs::Root,
            bit(CAP_SYS_ADMIN) | bit(CAP_SYS_CHROOT) | bit(CAP_SETUID) | bit(CAP_SETGID) | bit(CAP_SETPCAP) | bit(CAP_NET_ADMIN)},
    Service{Role::Api, "joblet-api", RunAs::ApiUser, 0},
};

// What jobletd itself keeps: what it hands on. SETUID, SETGID and SETPCAP are also how it hands on less.
inline constexpr CapabilityMask kHandedOn = [] {
    CapabilityMask all = 0;
    for (const auto& service : kServices) {
        all |= service.capabilities;
    }
    return all;
}();

// Permitted to jobletd, and not effective.
inline constexpr CapabilityMask kOnDemand = [] {
    CapabilityMask all = 0;
    for (const auto& service : kServices) {
        all |= service.on_demand;
    }
    return all;
}();

// nullptr for a role that is none.
constexpr const Service* service_of(Role role) {
    for (const auto& service : kServices) {
        if (service.role == role) {
            return &service;
        }
    }
    return nullptr;
}

} // namespace joblet::jobletd
