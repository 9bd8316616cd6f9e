#include "broker-root/kernel/btrfs.h"

#include <endian.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
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

// One item of the tree of quotas, by its key; items are little-endian on disk.
template <class Item> Result<Item> quota_item(int fd, std::uint32_t type, std::uint64_t group) {
    btrfs_ioctl_search_args arguments{};
    arguments.key.tree_id = BTRFS_QUOTA_TREE_OBJECTID;
    arguments.key.min_type = arguments.key.max_type = type;
    arguments.key.min_offset = arguments.key.max_offset = group;
    arguments.key.max_transid = UINT64_MAX;
    arguments.key.nr_items = 1;
    if (::ioctl(fd, BTRFS_IOC_TREE_SEARCH, &arguments) < 0) {
        return errno == ENOENT ? std::unexpected(ENOTCONN) : last_errno();
    }
    btrfs_ioctl_search_header header{};
    if (arguments.key.nr_items != 1) {
        return std::unexpected(ENOENT);
    }
    std::memcpy(&header, &arguments.buf[0], sizeof header);
    Item item{};
    if (header.type != type || header.offset != group || header.len < sizeof item) {
        return std::unexpected(EUCLEAN);
    }
    std::memcpy(&item, &arguments.buf[sizeof header], sizeof item);
    return item;
}

} // namespace

Result<std::array<std::uint8_t, 16>> btrfs_id(int fd) {
    btrfs_ioctl_fs_info_args arguments{};
    if (::ioctl(fd, BTRFS_IOC_FS_INFO, &arguments) < 0) {
        return last_errno();
    }
    return std::to_array(arguments.fsid);
}

Result<void> make_subvolume(int directory, const char* name) {
    return on_named(directory, BTRFS_IOC_SUBVOL_CREATE, name);
}

Result<void> limit_subvolume(int directory, std::uint64_t subvolume_id, std::uint64_t bytes) {
    btrfs_ioctl_qgroup_limit_args arguments{};
    arguments.qgroupid = subvolume_id; // level 0 is in the upper bits
    arguments.lim.flags = BTRFS_QGROUP_LIMIT_MAX_RFER;
    arguments.lim.max_rfer = bytes;
    if (::ioctl(directory, BTRFS_IOC_QGROUP_LIMIT, &arguments) < 0) {
        // Kernels that say EINVAL where others say ENOTCONN
        return errno == EINVAL ? std::unexpected(ENOTCONN) : last_errno();
    }
    return {};
}

Result<SubvolumeUsage> subvolume_usage(int subvolume) {
    const auto id = subvolume_id(subvolume);
    if (!id) {
        return std::unexpected(id.error());
    }
    const auto counted = quota_item<btrfs_qgroup_info_item>(subvolume, BTRFS_QGROUP_INFO_KEY, *id);
    if (!counted) {
        return std::unexpected(counted.error() == ENOENT ? ENOTCONN : counted.error());
    }
    SubvolumeUsage out{.bytes = le64toh(counted->rfer)};
    const auto limit = quota_item<btrfs_qgroup_limit_item>(subvolume, BTRFS_QGROUP_LIMIT_KEY, *id);
    if (!limit && limit.error() != ENOENT) {
        return std::unexpected(limit.error());
    }
    if (limit && (le64toh(limit->flags) & BTRFS_QGROUP_LIMIT_MAX_RFER) != 0) {
        out.bytes_limit = le64toh(limit->max_rfer);
    }
    return out;
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
