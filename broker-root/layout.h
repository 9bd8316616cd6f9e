// Where things are below the installation's root, and which descriptors each program is started with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "shared/host_uids.h"

namespace joblet {

// root is "" or an absolute path without trailing slash. All of these are made by jobletd, root-owned, before anything
// else starts; mode in comments. Nothing here follows a path given by anybody but root.
struct Layout {
    std::string root;

    [[nodiscard]] std::string configuration() const {
        return root + "/etc/joblet";
    } // 0755: broker.toml, api.toml
    [[nodiscard]] std::string state() const {
        return root + "/var/lib/joblet";
    } // 0711: volumes trash staging (0700), api (0700, the API's), bases (0755)
    [[nodiscard]] std::string jobs() const {
        return root + "/opt/joblet/jobs";
    } // 0711: what outlives a job: <id>/exit, and of a job with a log record, log.0 and log.1
    [[nodiscard]] std::string runtime() const {
        return root + "/run/joblet";
    } // 0755: api.sock, jobletd.lock
    [[nodiscard]] std::string running_jobs() const {
        return root + "/run/joblet/jobs";
    } // 0700: <id>, the record of a job that may be alive
    [[nodiscard]] std::string logs() const {
        return root + "/var/log/joblet";
    } // 0750
    [[nodiscard]] std::string api_socket() const {
        return runtime() + "/api.sock";
    }
    [[nodiscard]] std::string minimal_base() const {
        return state() + "/bases/minimal";
    }
    [[nodiscard]] std::string host_base() const { // etc alone
        return state() + "/bases/host";
    }
};

// Descriptors that a program finds when it starts, besides 0 (null), 1 and 2. Anything else open means that it was not
// jobletd who started it: it refuses.
inline constexpr int kBrokerSupervisionFd = 3; // SEQPACKET to jobletd
inline constexpr int kBrokerListenerFd = 4;    // api.sock, listening
inline constexpr int kBrokerCgroupFd = 5;      // O_PATH directory of cgroup2 in which jobs' groups are made
inline constexpr int kWorkerBrokerFd = 3;      // SEQPACKET to the broker
inline constexpr int kSpawnerBrokerFd = 3;     // SEQPACKET to the broker
inline constexpr int kApiBrokerFd = 3;         // SEQPACKET to the broker

// The program ended because its configuration is wrong; jobletd stops instead of starting it again (EX_CONFIG).
inline constexpr int kExitConfiguration = 78;

// Host uids. Slots: n-th slot is [kSlotFirst + n * kSlotIds, + kSlotIds), unless configured otherwise.
inline constexpr std::uint32_t kSlotFirst = 0x70000000;
inline constexpr std::uint32_t kSlotCount = 0x0FFE;
// Used for joblet-api under --root where there is no user `joblet`: above every slot and the foreign range.
inline constexpr std::uint32_t kFallbackApiUid = 0x7FFFFFF0;

} // namespace joblet
