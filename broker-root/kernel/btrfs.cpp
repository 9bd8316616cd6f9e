#include "broker-root/kernel/btrfs.h"

#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <string_view>

namespace joblet::kernel {
namespace {

static_assert(kSubvolumeInode == BTRFS_FIRST_FREE_OBJECTID);

Result<void> on_named(int directory, unsigned long command, std::string_view name) {
    btrfs_ioctl_vol_args arguments{};
    if (name.empty() || name.size() >= sizeof arguments.name || name.find('/') != std::string_view::npos) {
        return std::unexpected(EINVAL);
    }
    std::ranges::copy(name, &arguments.name[0]);
    if (::ioctl(directory, command, &arguments) < 0) {
        return last_errno();
    }
    return {};
}

} // namespace

Result<void> make_subvolume(int directory, const char* name) {
    return on_named(directory, BTRFS_IOC_SUBVOL_CREATE, name);
}

Result<void> limit_subvolume(int subvolume, std::uint64_t bytes) {
    btrfs_ioctl_qgroup_limit_args arguments{}; // qgroupid 0: that of the subvolume
    arguments.lim.flags = BTRFS_QGROUP_LIMIT_MAX_RFER;
    arguments.lim.max_rfer = bytes;
    if (::ioctl(subvolume, BTRFS_IOC_QGROUP_LIMIT, &arguments) < 0) {
        // Kernels that say EINVAL where others say ENOTCONN
        return errno == EINVAL ? std::unexpected(ENOTCONN) : last_errno();
    }
    return {};
}

Result<std::uint64_t> subvolume_id(int subvolume) {
    btrfs_ioctl_ino_lookup_args arguments{};
    arguments.objectid = BTRFS_FIRST_FREE_OBJECTID;
    if (::ioctl(subvolume, BTRFS_IOC_INO_LOOKUP, &arguments) < 0) {
        return last_errno();
    }
    return arguments.treeid;
}

Result<void> destroy_subvolume(int directory, const char* name) {
    return on_named(directory, BTRFS_IOC_SNAP_DESTROY, name);
}

Result<void> remove_quota_group(int directory, std::uint64_t subvolume_id) {
    btrfs_ioctl_qgroup_create_args arguments{};
    arguments.qgroupid = subvolume_id; // level 0 is in the upper bits
    if (::ioctl(directory, BTRFS_IOC_QGROUP_CREATE, &arguments) < 0) {
        return last_errno();
    }
    return {};
}

} // namespace joblet::kernel
