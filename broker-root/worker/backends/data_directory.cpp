#include "broker-root/worker/backends/data_directory.h"

#include <fcntl.h>

#include <utility>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/layout.h"

namespace joblet::worker {

std::optional<kernel::Label> label_for(bool has_labels, const VolumeRecord& record) {
    return has_labels ? std::optional(kernel::label_of(kernel::Labelled::Volume, record.owner_uid)) : std::nullopt;
}

Outcome<void> make_data(Step step, int holder, const std::optional<kernel::Label>& label) {
    if (const auto made = kernel::make_directory(holder, kData, kHolderMode); !made) {
        return failed(step, made.error());
    }
    const auto data = kernel::open_beneath(holder, kData, O_RDONLY | O_DIRECTORY);
    if (!data) {
        return failed(step, data.error());
    }
    if (label) { // while it still is root's
        if (const auto labelled = kernel::label_file(data->get(), *label); !labelled) {
            return failed(step, labelled.error());
        }
    }
    const auto given = kernel::change_owner(data->get(), kForeignFirst, kForeignFirst);
    return given ? Outcome<void>() : failed(step, given.error());
}

Outcome<void> check_fits(Step step, int directory, const VolumeRecord& record) {
    const auto space = kernel::space_in_use(directory);
    if (!space) {
        return failed(step, space.error());
    }
    // btrfs counts no inodes
    const bool fits = record.size_bytes <= space->bytes_limit && (space->inodes_limit == 0 || record.inodes <= space->inodes_limit);
    return fits ? Outcome<void>() : failed(step, ENOSPC);
}

bool has_data(int holder) {
    const auto root = kernel::status_of(holder);
    const auto data = kernel::status_beneath(holder, kData);
    return root && data && S_ISDIR(root->st_mode) && root->st_uid == 0 && root->st_gid == 0 && (root->st_mode & 07777U) == kHolderMode &&
           S_ISDIR(data->st_mode) && data->st_dev == root->st_dev && data->st_uid == kForeignFirst;
}

Outcome<Fd> mount_data(int holder, const Attachment& attachment) {
    auto mount = kernel::clone_mount(holder, kData);
    if (!mount) {
        return failed(Step::MountVolume, mount.error());
    }
    // The store is mounted noexec here, and so is its clone; a volume may hold programs.
    const bool read_only = attachment.access == protocol::Access::ReadOnly;
    if (const auto set =
            kernel::replace_attributes(mount->get(), read_only ? kernel::Attributes::ReadOnlyNoSuidNoDev : kernel::Attributes::NoSuidNoDev);
        !set) {
        return failed(Step::MountVolume, set.error());
    }
    if (const auto mapped = kernel::idmap_mount(mount->get(), attachment.user_namespace); !mapped) {
        return failed(Step::IdmapVolume, mapped.error());
    }
    return std::move(*mount);
}

} // namespace joblet::worker
