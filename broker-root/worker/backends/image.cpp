#include "broker-root/worker/backends/image.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "broker-root/kernel/ext4.h"
#include "broker-root/kernel/loop.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/layout.h"
#include "broker-root/worker/backends/data_directory.h"
#include "broker-root/worker/image_geometry.h"
#include "broker-root/worker/patience.h"

namespace joblet::worker {
namespace {

using kernel::LockKind;
using kernel::LoopAccess;
using protocol::Access;

constexpr auto kImage = "image";
constexpr auto kLostAndFound = "lost+found";
constexpr std::uint32_t kImageMode = 0600;
constexpr std::uint64_t kReservedInodes = 11; // see kFirstUserInode in image_geometry.cpp

// The last user of an image may still be on its way out: its loop device goes a moment after the descriptor was closed.
constexpr std::chrono::milliseconds kPatience{2000};

bool is_image(const struct stat& status, const VolumeRecord& record) {
    return S_ISREG(status.st_mode) && status.st_uid == 0 && status.st_gid == 0 && (status.st_mode & 07777U) == kImageMode &&
           status.st_nlink == 1 && static_cast<std::uint64_t>(status.st_size) >= record.image_bytes;
}

kernel::Result<Fd> open_locked(int directory, const VolumeRecord& record, Access access) {
    const bool read_only = access == Access::ReadOnly;
    auto file = kernel::open_beneath(directory, kImage, read_only ? O_RDONLY : O_RDWR);
    if (!file) {
        return file;
    }
    const auto locked = wait_while<void>(EWOULDBLOCK, kPatience, [&file, read_only] {
        return kernel::try_lock(file->get(), read_only ? LockKind::Shared : LockKind::Exclusive);
    });
    if (!locked) {
        return std::unexpected(locked.error());
    }
    // Only now: while this waited for the lock a resized copy may have taken its place, and then it is nobody's any more.
    const auto status = kernel::status_of(file->get());
    if (!status) {
        return std::unexpected(status.error());
    }
    if (!is_image(*status, record)) {
        return std::unexpected(EUCLEAN);
    }
    return file;
}

// The file is the slot's until now, and what the slot did to it is not known: taken back and put in order first.
Outcome<void> take_back(int directory, const VolumeRecord& record) {
    const auto given = kernel::open_beneath(directory, kImage, O_PATH);
    if (!given) {
        return failed(Step::MakeFilesystem, given.error());
    }
    const auto status = kernel::status_of(given->get());
    if (!status || !S_ISREG(status->st_mode) || status->st_nlink != 1 || static_cast<std::uint64_t>(status->st_size) < record.image_bytes) {
        return failed(Step::MakeFilesystem, EUCLEAN);
    }
    if (const auto changed = kernel::change_owner(given->get(), 0, 0); !changed) {
        return failed(Step::MakeFilesystem, changed.error());
    }
    const auto file = kernel::open_beneath(directory, kImage, O_RDWR);
    if (!file) {
        return failed(Step::MakeFilesystem, file.error());
    }
    if (const auto changed = kernel::change_mode(file->get(), kImageMode); !changed) {
        return failed(Step::MakeFilesystem, changed.error());
    }
    if (static_cast<std::uint64_t>(status->st_size) > record.image_bytes) { // the copy of a larger one, made smaller in place
        if (const auto cut = kernel::set_length(file->get(), record.image_bytes); !cut) {
            return failed(Step::MakeFilesystem, cut.error());
        }
    }
    if (const auto filled = kernel::preallocate(file->get(), record.image_bytes); !filled) { // whatever hole was left
        return failed(Step::AllocateImage, filled.error());
    }
    return {};
}

// mkfs made everything root's. Directory, mode and then owner: afterwards it is the foreign range's, and neither can be
// opened nor changed any more.
kernel::Result<void> hand_over(int mount, const std::optional<kernel::Label>& label) {
    const auto root = kernel::open_directory(mount);
    if (!root) {
        return std::unexpected(root.error());
    }
    // Of no use to somebody who cannot run fsck, and not his to remove.
    if (const auto removed = kernel::remove_directory(root->get(), kLostAndFound); !removed) {
        return removed;
    }
    if (const auto changed = kernel::change_mode(root->get(), 0700); !changed) {
        return changed;
    }
    if (label) {
        if (const auto labelled = kernel::label_file(root->get(), *label); !labelled) {
            return labelled;
        }
    }
    return kernel::change_owner(root->get(), kForeignFirst, kForeignFirst);
}

// Files may be in it: what counts is what it holds in all.
Outcome<void> check_size(int mounted, const VolumeRecord& record) {
    const auto space = kernel::space_in_use(mounted);
    if (!space) {
        return failed(Step::CheckUsableSize, space.error());
    }
    // Growing adds inodes as the file system was made with; none go. So only a number that was asked for has to be there.
    const bool enough = space->bytes_limit >= record.size_bytes && space->inodes_limit >= record.inodes + kReservedInodes;
    return enough ? Outcome<void>() : std::unexpected(Failure{ErrorCode::Unsupported, Step::CheckUsableSize, EOVERFLOW});
}

} // namespace

Outcome<Fd> ImageBackend::create(int directory, const VolumeRecord& record, std::uint32_t slot_first) const {
    // fallocate(2) takes what there is before it finds that there is not enough, and all others would see a full disk.
    const auto space = kernel::free_space(directory);
    if (!space || space->bytes < record.image_bytes) {
        return failed(Step::AllocateImage, space ? ENOSPC : space.error());
    }
    auto file = kernel::open_beneath(directory, kImage, O_RDWR | O_CREAT | O_EXCL, kImageMode);
    if (!file) {
        return failed(Step::MakeImage, file.error());
    }
    if (has_labels_) {
        const auto label = kernel::label_of(kernel::Labelled::Image, record.owner_uid);
        if (const auto labelled = kernel::label_file(file->get(), label); !labelled) {
            return failed(Step::MakeImage, labelled.error());
        }
    }
    if (const auto allocated = kernel::preallocate(file->get(), record.image_bytes); !allocated) {
        return failed(Step::AllocateImage, allocated.error());
    }
    if (const auto given = kernel::change_owner(file->get(), slot_first, slot_first); !given) {
        return failed(Step::MakeImage, given.error());
    }
    return std::move(*file);
}

Outcome<void> ImageBackend::complete(int directory, const VolumeRecord& record) const {
    if (auto taken = take_back(directory, record); !taken) {
        return taken;
    }
    {
        const auto mounted = mount(directory, record, Access::ReadWrite);
        if (!mounted) {
            return std::unexpected(mounted.error());
        }
        if (const auto handed = hand_over(mounted->get(), label_for(has_labels_, record)); !handed) {
            return failed(Step::MakeFilesystem, handed.error());
        }
        const auto space = kernel::free_space(mounted->get());
        if (!space) {
            return failed(Step::CheckUsableSize, space.error());
        }
        if (space->bytes < record.size_bytes || space->inodes < image_inodes_for(record.size_bytes, record.inodes)) {
            return std::unexpected(Failure{ErrorCode::Internal, Step::CheckUsableSize, EOVERFLOW});
        }
    }
    return sync_unmounted(directory);
}

Outcome<void> ImageBackend::complete_resized(int directory, const VolumeRecord& record) const {
    if (auto taken = take_back(directory, record); !taken) {
        return taken;
    }
    {
        const auto mounted = mount(directory, record, Access::ReadWrite);
        if (!mounted) {
            return std::unexpected(mounted.error());
        }
        const auto root = kernel::status_of(mounted->get());
        if (!root || root->st_uid != kForeignFirst || root->st_gid != kForeignFirst) {
            return failed(Step::ResizeFilesystem, EUCLEAN);
        }
        if (auto enough = check_size(mounted->get(), record); !enough) {
            return enough;
        }
    }
    return sync_unmounted(directory);
}

// Everything is in the file, now to the disk. The claim also says that the loop device is gone.
Outcome<void> ImageBackend::sync_unmounted(int directory) const {
    const auto file = wait_while<Fd>(EWOULDBLOCK, kPatience, [this, directory] { return claim(directory); });
    if (!file) {
        return failed(Step::CommitVolume, file.error());
    }
    if (const auto synced = kernel::sync_to_disk(file->get()); !synced) {
        return failed(Step::CommitVolume, synced.error());
    }
    return {};
}

bool ImageBackend::is_intact(int directory, const VolumeRecord& record) const {
    const auto status = kernel::status_beneath(directory, kImage);
    return status && is_image(*status, record);
}

Outcome<Fd> ImageBackend::mount(int directory, const VolumeRecord& record, Access access) const {
    const auto file = open_locked(directory, record, access);
    if (!file) {
        return failed(Step::OpenVolume, file.error());
    }
    const bool read_only = access == Access::ReadOnly;
    const auto loop = kernel::attach_loop(devices_.get(), file->get(), read_only ? LoopAccess::ReadOnly : LoopAccess::ReadWrite);
    if (!loop) {
        return failed(Step::AttachLoop, loop.error());
    }
    auto mounted = kernel::make_ext4(loop->path.data(), read_only);
    if (!mounted) {
        return failed(Step::MountVolume, mounted.error());
    }
    return std::move(*mounted);
}

Outcome<Fd> ImageBackend::mount_as(int directory, const VolumeRecord& record, Access access) const {
    auto mounted = mount(directory, record, access);
    if (!mounted && access == Access::ReadOnly && mounted.error().sys_errno == EROFS) {
        // The host went down while it was written: the journal is to be replayed, which a read-only device does not allow.
        // (The option noload would skip it, and show a file system that never was.) So it is mounted for writing once, which
        // replays, by whoever gets the exclusive lock; readers that come meanwhile wait for theirs.
        if (const auto replayed = mount(directory, record, Access::ReadWrite);
            !replayed && replayed.error().code != ErrorCode::InUse) { // in use: somebody else has replayed it, and is reading
            return std::unexpected(replayed.error());
        }
        mounted = mount(directory, record, access);
    }
    return mounted;
}

Outcome<Fd> ImageBackend::open(int directory, const VolumeRecord& record, const Attachment& attachment) const {
    auto mounted = mount_as(directory, record, attachment.access);
    if (!mounted) {
        return mounted;
    }
    if (const auto mapped = kernel::idmap_mount(mounted->get(), attachment.user_namespace); !mapped) {
        return failed(Step::IdmapVolume, mapped.error());
    }
    return mounted;
}

Outcome<protocol::Usage> ImageBackend::measure(int directory, const VolumeRecord& record, int mounted) const {
    Fd own;
    if (mounted < 0) {
        auto made = mount_as(directory, record, Access::ReadOnly);
        if (!made) {
            return std::unexpected(made.error());
        }
        own = std::move(*made);
        mounted = own.get();
    }
    const auto space = kernel::space_in_use(mounted);
    if (!space) {
        return failed(Step::MeasureVolume, space.error());
    }
    if (space->magic != kernel::kExt4Magic) {
        return failed(Step::MeasureVolume, EUCLEAN);
    }
    return protocol::Usage{.bytes = space->bytes,
                           .bytes_limit = space->bytes_limit,
                           .inodes = space->inodes - std::min(space->inodes, kImageInodesReserved),
                           .inodes_limit = space->inodes_limit - std::min(space->inodes_limit, kImageInodesReserved)};
}

Outcome<void> ImageBackend::resize(int directory, const VolumeRecord& before, const VolumeRecord& after, int mounted) const {
    if (mounted < 0 || after.size_bytes < before.size_bytes || after.image_bytes < before.image_bytes) {
        return failed(Step::ResizeVolume, EOPNOTSUPP); // offline, by a copy
    }
    if (growing_ == 0) {
        return std::unexpected(Failure{ErrorCode::Unsupported, Step::ResizeVolume, EPERM});
    }
    if (auto grown = grow(directory, after, mounted); !grown) {
        return grown;
    }
    return check_size(mounted, after);
}

Outcome<void> ImageBackend::grow(int directory, const VolumeRecord& record, int mounted) const {
    const auto file = kernel::open_beneath(directory, kImage, O_RDWR);
    const auto status = file ? kernel::status_of(file->get()) : std::unexpected(file.error());
    const auto root = status ? kernel::status_of(mounted) : std::unexpected(status.error());
    if (!root) {
        return failed(Step::ResizeVolume, root.error());
    }
    const auto loop = kernel::open_loop(devices_.get(), root->st_dev);
    const auto is_its = loop ? kernel::is_loop_of(loop->get(), file->get()) : std::unexpected(loop.error());
    if (!is_its || !*is_its || !S_ISREG(status->st_mode)) {
        return failed(Step::ResizeVolume, is_its ? EUCLEAN : is_its.error());
    }
    const auto length = static_cast<std::uint64_t>(status->st_size);
    if (length < record.image_bytes) {
        const auto space = kernel::free_space(directory);
        if (!space || space->bytes < record.image_bytes - length) {
            return failed(Step::AllocateImage, space ? ENOSPC : space.error());
        }
    }
    if (const auto allocated = kernel::preallocate(file->get(), record.image_bytes); !allocated) {
        return failed(Step::AllocateImage, allocated.error());
    }
    if (const auto synced = kernel::sync_to_disk(file->get()); !synced) { // before a file system says that it has this much
        return failed(Step::AllocateImage, synced.error());
    }
    if (const auto refreshed = kernel::refresh_loop_size(loop->get()); !refreshed) {
        return failed(Step::ResizeVolume, refreshed.error());
    }
    const auto space = kernel::space_in_use(mounted);
    if (!space || space->magic != kernel::kExt4Magic || space->block_size == 0) {
        return failed(Step::ResizeVolume, space ? EUCLEAN : space.error());
    }
    const auto raised = kernel::RaisedCapabilities::raise(growing_);
    if (!raised) {
        return failed(Step::ResizeVolume, raised.error());
    }
    // Its root is the foreign range's, and open to nobody else.
    const auto directory_of_root = kernel::open_directory(mounted);
    const auto grown = directory_of_root ? kernel::grow_ext4(directory_of_root->get(), record.image_bytes / space->block_size)
                                         : std::unexpected(directory_of_root.error());
    return grown ? Outcome<void>() : failed(Step::ResizeVolume, grown.error());
}

kernel::Result<Fd> ImageBackend::claim(int directory) const {
    auto file = kernel::open_beneath(directory, kImage, O_RDONLY);
    if (!file) {
        return file;
    }
    if (const auto locked = kernel::try_lock(file->get(), LockKind::Exclusive); !locked) {
        return std::unexpected(locked.error());
    }
    return file;
}

Outcome<Fd> ImageBackend::open_claimed(int directory, const VolumeRecord& record) const {
    auto file = wait_while<Fd>(EWOULDBLOCK, kPatience, [this, directory] { return claim(directory); });
    if (!file) {
        return failed(Step::OpenVolume, file.error());
    }
    const auto status = kernel::status_of(file->get());
    if (!status || !is_image(*status, record)) {
        return failed(Step::OpenVolume, EUCLEAN);
    }
    return std::move(*file);
}

Outcome<void> ImageBackend::replace(int from, int to) {
    const auto replaced = kernel::replace_by(from, to, kImage);
    return replaced ? Outcome<void>() : failed(Step::ResizeVolume, replaced.error());
}

Outcome<void> ImageBackend::remove(int directory) const {
    if (const auto removed = kernel::remove_file(directory, kImage); !removed) {
        return failed(Step::EmptyTrash, removed.error());
    }
    return {};
}

} // namespace joblet::worker
