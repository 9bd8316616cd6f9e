// Project quotas of XFS and ext4: a number on a directory, inherited by what is made in it, and limits of what has that number.
//
// `fd` is any descriptor on the file system, O_PATH too; limits are changed with CAP_SYS_ADMIN. Whoever has CAP_SYS_RESOURCE
// is held by no limit of ext4.
#pragma once

#include <cstdint>
#include <optional>

#include "broker-root/kernel/result.h"

namespace joblet::kernel {

// quotactl_fd(2), Linux 5.14; and all that it is asked for, as QCMD() makes it of command and PRJQUOTA. For filters, too: headers and
// libseccomp of Debian 12 do not all know them by name.
inline constexpr int kQuotactlFd = 443;
inline constexpr std::uint32_t kQuotaGet = 0x80000702U;   // Q_GETQUOTA
inline constexpr std::uint32_t kQuotaSet = 0x80000802U;   // Q_SETQUOTA
inline constexpr std::uint32_t kQuotaNext = 0x80000902U;  // Q_GETNEXTQUOTA
inline constexpr std::uint32_t kQuotaState = 0x00580802U; // Q_XGETQSTATV
// Requests of ioctl(2); linux/fs.h, which has them, cannot be included beside sys/mount.h.
inline constexpr unsigned long kProjectGet = 0x801C581F; // FS_IOC_FSGETXATTR
inline constexpr unsigned long kProjectSet = 0x401C5820; // FS_IOC_FSSETXATTR

// 0: no limit. Bytes are held in units of 1 KiB, rounded up; a soft limit must not be above its hard one.
struct ProjectLimits {
    std::uint64_t bytes = 0;
    std::uint64_t soft_bytes = 0;
    std::uint64_t inodes = 0;
    std::uint64_t soft_inodes = 0;

    bool operator==(const ProjectLimits&) const = default;
};
struct ProjectQuota {
    ProjectLimits limits;
    std::uint64_t bytes = 0; // in use
    std::uint64_t inodes = 0;
    std::int64_t bytes_grace_s = 0; // CLOCK_REALTIME: when the soft limit becomes a hard one; 0: what is used is not above it
    std::int64_t inodes_grace_s = 0;

    [[nodiscard]] bool is_nothing() const {
        return limits == ProjectLimits{} && bytes == 0 && inodes == 0;
    }
};

// Whether limits of projects hold there. A file system may count and hold nothing (XFS mounted with pqnoenforce, ext4 that has the feature
// and is mounted without prjquota), and takes limits nevertheless: so this comes before any promise. ESRCH: they do not hold; ENOSYS: this
// kernel has no quotactl_fd(2).
Result<void> check_project_limits_hold(int fd);

// All zero if nothing is known of that id.
Result<ProjectQuota> project_quota(int fd, std::uint32_t id);
// Replaces all four.
Result<void> set_project_limits(int fd, std::uint32_t id, const ProjectLimits& limits);

struct ProjectRow {
    std::uint32_t id = 0;
    ProjectQuota quota;
};
// The row of the lowest id that is `from` or above, of those that have limits or usage. nullopt: there is none.
Result<std::optional<ProjectRow>> next_project_quota(int fd, std::uint32_t from);

struct ProjectMark {
    std::uint32_t id = 0; // 0: none
    bool is_inherited = false;
};
// Of a directory open for reading (not O_PATH). ENOTTY, EOPNOTSUPP: the file system has no such thing.
Result<ProjectMark> project_of(int directory);
// What is made in it from now on has that id, too. The directory must be the caller's own.
Result<void> set_project(int directory, std::uint32_t id);

} // namespace joblet::kernel
