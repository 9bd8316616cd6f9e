#include "broker-root/kernel/quota.h"

#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace joblet::kernel {
namespace {

#ifdef SYS_quotactl_fd
static_assert(kQuotactlFd == SYS_quotactl_fd);
#endif

constexpr std::uint64_t kUnit = QIF_DQBLKSIZE; // bytes, of the limits in if_dqblk

constexpr std::uint64_t units_of(std::uint64_t bytes) {
    return bytes / kUnit + (bytes % kUnit != 0 ? 1 : 0);
}

Result<void> control(int fd, std::uint32_t command, std::uint32_t id, void* argument) {
    if (::syscall(kQuotactlFd, fd, command, id, argument) < 0) {
        return last_errno();
    }
    return {};
}

// A kernel that has the call looks at the descriptor first.
bool has_call() {
    return ::syscall(kQuotactlFd, -1, kQuotaState, 0, nullptr) >= 0 || errno != ENOSYS;
}

template <class Block> ProjectQuota quota_of(const Block& block) {
    ProjectQuota out;
    out.limits = {.bytes = block.dqb_bhardlimit * kUnit,
                  .soft_bytes = block.dqb_bsoftlimit * kUnit,
                  .inodes = block.dqb_ihardlimit,
                  .soft_inodes = block.dqb_isoftlimit};
    out.bytes = block.dqb_curspace;
    out.inodes = block.dqb_curinodes;
    // A time that is left over from before, when nothing is above the soft limit any more, is none
    const bool bytes_above = block.dqb_bsoftlimit != 0 && out.bytes > out.limits.soft_bytes;
    const bool inodes_above = block.dqb_isoftlimit != 0 && out.inodes > out.limits.soft_inodes;
    out.bytes_grace_s = bytes_above ? static_cast<std::int64_t>(block.dqb_btime) : 0;
    out.inodes_grace_s = inodes_above ? static_cast<std::int64_t>(block.dqb_itime) : 0;
    return out;
}

} // namespace

static_assert(kQuotaGet == QCMD(static_cast<std::uint32_t>(Q_GETQUOTA), PRJQUOTA));
static_assert(kQuotaSet == QCMD(static_cast<std::uint32_t>(Q_SETQUOTA), PRJQUOTA));
static_assert(kQuotaNext == QCMD(static_cast<std::uint32_t>(Q_GETNEXTQUOTA), PRJQUOTA));
static_assert(kQuotaState == QCMD(static_cast<std::uint32_t>(Q_XGETQSTATV), PRJQUOTA));

static_assert(kProjectGet == FS_IOC_FSGETXATTR && kProjectSet == FS_IOC_FSSETXATTR);

Result<void> check_project_limits_hold(int fd) {
    fs_quota_statv state{};
    state.qs_version = FS_QSTATV_VERSION1;
    if (const auto asked = control(fd, kQuotaState, 0, &state); !asked) {
        // ENOSYS is also what a file system says whose quotas are off
        return std::unexpected(asked.error() == ENOSYS && has_call() ? ESRCH : asked.error());
    }
    constexpr unsigned kHold = FS_QUOTA_PDQ_ACCT | FS_QUOTA_PDQ_ENFD;
    return (state.qs_flags & kHold) == kHold ? Result<void>() : std::unexpected(ESRCH);
}

Result<ProjectQuota> project_quota(int fd, std::uint32_t id) {
    if_dqblk block{};
    if (const auto asked = control(fd, kQuotaGet, id, &block); !asked) {
        if (asked.error() == ENOENT) { // XFS, of an id without limits and usage
            return ProjectQuota{};
        }
        return std::unexpected(asked.error());
    }
    return quota_of(block);
}

Result<void> set_project_limits(int fd, std::uint32_t id, const ProjectLimits& limits) {
    if_dqblk block{};
    block.dqb_bhardlimit = units_of(limits.bytes);
    block.dqb_bsoftlimit = units_of(limits.soft_bytes);
    block.dqb_ihardlimit = limits.inodes;
    block.dqb_isoftlimit = limits.soft_inodes;
    block.dqb_valid = QIF_LIMITS;
    return control(fd, kQuotaSet, id, &block);
}

Result<std::optional<ProjectRow>> next_project_quota(int fd, std::uint32_t from) {
    if_nextdqblk block{};
    if (const auto asked = control(fd, kQuotaNext, from, &block); !asked) {
        if (asked.error() == ENOENT) {
            return std::nullopt;
        }
        return std::unexpected(asked.error());
    }
    return ProjectRow{.id = block.dqb_id, .quota = quota_of(block)};
}

Result<ProjectMark> project_of(int directory) {
    fsxattr attributes{};
    if (::ioctl(directory, kProjectGet, &attributes) < 0) {
        return last_errno();
    }
    return ProjectMark{.id = attributes.fsx_projid, .is_inherited = (attributes.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0};
}

Result<void> set_project(int directory, std::uint32_t id) {
    fsxattr attributes{};
    if (::ioctl(directory, kProjectGet, &attributes) < 0) {
        return last_errno();
    }
    attributes.fsx_projid = id;
    attributes.fsx_xflags |= static_cast<__u32>(FS_XFLAG_PROJINHERIT);
    if (::ioctl(directory, kProjectSet, &attributes) < 0) {
        return last_errno();
    }
    return {};
}

} // namespace joblet::kernel
