// The words of the boundary that requests and messages share: numbers, enums, limits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "shared/error.h"
#include "shared/exit_record.h"
#include "shared/id.h"
#include "shared/name.h"

namespace joblet::protocol {

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kLabelsMax = 4096; // bytes of the label blob, stored unread by the broker
inline constexpr std::size_t kJobVolumesMax = 16;
inline constexpr std::uint64_t kVolumeSizeMin = std::uint64_t{1} << 20U; // 1 MiB
inline constexpr std::uint64_t kVolumeSizeMax = std::uint64_t{1} << 50U; // 1 PiB
// Inodes cost room beside the size that is counted: more than one for each KiB asked for is refused.
inline constexpr std::uint64_t kBytesPerInodeMin = 1024;

// Connections are numbered by the broker, from a random epoch; 0 is none (housekeeping).
using ConnectionNumber = std::uint64_t;

enum class RequestType : std::uint32_t {
    CreateVolume = 1,
    DeleteVolume = 2,
    StatVolume = 3,
    ListVolumes = 4,
    StartJob = 5,
    SignalJob = 6,
    ListJobs = 7,
    ReleaseJob = 8,
    CloseConnection = 9,
    RestoreVolume = 10,
    ProtectVolume = 11,
    LabelVolume = 12,
    RenameVolume = 13,
    AttachVolume = 14,
    DetachVolume = 15,
    AdminRead = 16,
    OpenLog = 17,
    ListBases = 18,
    ResizeVolume = 19,
    MeasureVolume = 20,
    HostReport = 21,
    CreateChannel = 22,
};
enum class VolumeType : std::uint32_t { Filesystem = 1, Memory = 2 };
// What holds a volume. Auto is only ever asked for, never stored.
enum class Backend : std::uint32_t { Auto = 0, Image = 1, Tmpfs = 2, ProjectQuota = 3, Btrfs = 4 };
enum class VolumeStatus : std::uint32_t { Available = 1, InUse = 2, Trashed = 3, Quarantined = 4 };
enum class Access : std::uint32_t { ReadWrite = 0, ReadOnly = 1 };
// Whose power a request uses: the connection's own user, or (only for a uid in the list of admins) everybody's.
enum class Authority : std::uint32_t { User = 0, Admin = 1 };

std::string_view volume_type_name(VolumeType type);       // "filesystem", "memory"
std::string_view backend_name(Backend backend);           // "auto", "image", "tmpfs", "project-quota", "btrfs"
std::string_view volume_status_name(VolumeStatus status); // "available", "in_use", "trashed", "quarantined"

// Per second, for each whole block device behind a job's volumes; 0: none.
struct IoLimits {
    std::uint64_t read_bytes = 0;
    std::uint64_t write_bytes = 0;
    std::uint64_t read_operations = 0;
    std::uint64_t write_operations = 0;

    bool operator==(const IoLimits&) const = default;
};
// Below it a job with a buffer of ordinary size would wait for minutes for one call.
inline constexpr std::uint64_t kIoBytesMin = 4096;
inline constexpr std::uint64_t kIoOperationsMin = 2; // Linux 6.1 refuses one
inline constexpr std::uint64_t kIoLimitMax = std::uint64_t{1} << 50U;

// Controllers of cgroup2, as bits.
inline constexpr std::uint32_t kControllerCpu = 1;
inline constexpr std::uint32_t kControllerIo = 2;
inline constexpr std::uint32_t kControllerMemory = 4;
inline constexpr std::uint32_t kControllerPids = 8;
inline constexpr std::uint32_t kControllersAll = 15;

// A whole block device, as the kernel numbers it.
struct Device {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;

    bool operator==(const Device&) const = default;
};
inline constexpr std::size_t kStoreDevicesMax = 8;                            // below the store: a disk, or those of a btrfs
inline constexpr std::size_t kDevicesMax = kStoreDevicesMax + kJobVolumesMax; // and a loop device for each image

} // namespace joblet::protocol
