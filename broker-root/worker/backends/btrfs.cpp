#include "broker-root/worker/backends/btrfs.h"

#include <fcntl.h>

#include <utility>

#include "broker-root/kernel/btrfs.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/layout.h"

namespace joblet::worker {
namespace {

constexpr auto kSubvolume = "subvolume";
constexpr auto kData = "data";
constexpr std::uint32_t kMode = 0700;

// The limit counts the subvolume's own tree, too. Measured: 32 KiB let a file of the size asked for be written in one go; in
// pieces of 4 KiB, each synced, every one costs 78 bytes in leaves that are not full, up to a thirty-second of the size.
std::uint64_t limit_for(std::uint64_t size_bytes) {
    constexpr std::uint64_t kTreeBytes = 65536;
    return size_bytes + size_bytes / 32 + kTreeBytes;
}

Outcome<Fd> make_limited(int directory, std::uint64_t bytes) {
    if (const auto made = kernel::make_subvolume(directory, kSubvolume); !made) {
        return failed(Step::MakeSubvolume, made.error());
    }
    auto subvolume = kernel::open_beneath(directory, kSubvolume, O_RDONLY | O_DIRECTORY);
    if (!subvolume) {
        return failed(Step::MakeSubvolume, subvolume.error());
    }
    if (const auto changed = kernel::change_mode(subvolume->get(), kMode); !changed) {
        return failed(Step::MakeSubvolume, changed.error());
    }
    if (const auto limited = kernel::limit_subvolume(subvolume->get(), bytes); !limited) {
        return failed(Step::LimitSubvolume, limited.error());
    }
    return std::move(*subvolume);
}

} // namespace

Outcome<Fd> BtrfsBackend::create(int directory, const VolumeRecord& record, std::uint32_t) const {
    if (record.inodes != 0) { // nothing there counts files
        return failed(Step::MakeSubvolume, EOPNOTSUPP);
    }
    const auto subvolume = make_limited(directory, limit_for(record.size_bytes));
    if (!subvolume) {
        return std::unexpected(subvolume.error());
    }
    if (const auto made = kernel::make_directory(subvolume->get(), kData, kMode); !made) {
        return failed(Step::MakeSubvolume, made.error());
    }
    const auto data = kernel::open_beneath(subvolume->get(), kData, O_PATH | O_DIRECTORY);
    if (!data) {
        return failed(Step::MakeSubvolume, data.error());
    }
    if (const auto given = kernel::change_owner(data->get(), kForeignFirst, kForeignFirst); !given) {
        return failed(Step::MakeSubvolume, given.error());
    }
    return Fd();
}

Outcome<void> BtrfsBackend::complete(int directory, const VolumeRecord& record) const {
    if (!is_intact(directory, record)) {
        return failed(Step::CommitVolume, EUCLEAN);
    }
    const auto subvolume = kernel::open_beneath(directory, kSubvolume, O_RDONLY | O_DIRECTORY);
    if (!subvolume) {
        return failed(Step::CommitVolume, subvolume.error());
    }
    // Neither the subvolume nor its limit are anything that fsync(2) writes.
    if (const auto synced = kernel::sync_file_system(subvolume->get()); !synced) {
        return failed(Step::CommitVolume, synced.error());
    }
    return {};
}

bool BtrfsBackend::is_intact(int directory, const VolumeRecord&) const {
    const auto outside = kernel::status_of(directory);
    const auto subvolume = kernel::open_beneath(directory, kSubvolume, O_PATH | O_DIRECTORY);
    if (!outside || !subvolume) {
        return false;
    }
    const auto root = kernel::status_of(subvolume->get());
    const auto data = kernel::status_beneath(subvolume->get(), kData);
    return root && data && root->st_ino == kernel::kSubvolumeInode && root->st_dev != outside->st_dev && root->st_uid == 0 &&
           root->st_gid == 0 && (root->st_mode & 07777U) == kMode && S_ISDIR(data->st_mode) && data->st_dev == root->st_dev;
}

Outcome<Fd> BtrfsBackend::open(int directory, const VolumeRecord& record, const Attachment& attachment) const {
    if (!is_intact(directory, record)) {
        return failed(Step::OpenVolume, EUCLEAN);
    }
    const auto subvolume = kernel::open_beneath(directory, kSubvolume, O_RDONLY | O_DIRECTORY);
    if (!subvolume) {
        return failed(Step::OpenVolume, subvolume.error());
    }
    // Once more: quotas that were turned off and on again know no limits.
    if (const auto limited = kernel::limit_subvolume(subvolume->get(), limit_for(record.size_bytes)); !limited) {
        return failed(Step::LimitSubvolume, limited.error());
    }
    auto mount = kernel::clone_mount(subvolume->get(), kData);
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

kernel::Result<Fd> BtrfsBackend::claim(int) const {
    return Fd();
}

Outcome<void> BtrfsBackend::remove(int directory) const {
    const auto subvolume = kernel::open_beneath(directory, kSubvolume, O_RDONLY | O_DIRECTORY);
    const auto id = subvolume ? kernel::subvolume_id(subvolume->get()) : std::unexpected(subvolume.error());
    if (const auto destroyed = kernel::destroy_subvolume(directory, kSubvolume); !destroyed) {
        const bool nothing_there = destroyed.error() == ENOENT || destroyed.error() == ENOTTY;
        return nothing_there ? Outcome<void>() : failed(Step::EmptyTrash, destroyed.error());
    }
    if (id) {
        // Newer kernels do it themselves when the last block is freed, and refuse it before; older ones keep it for ever.
        (void)kernel::remove_quota_group(directory, *id);
    }
    return {};
}

Outcome<void> BtrfsBackend::probe(int directory) const {
    const auto made = make_limited(directory, limit_for(protocol::kVolumeSizeMin));
    const auto removed = remove(directory);
    if (!made) {
        return std::unexpected(made.error());
    }
    return removed;
}

} // namespace joblet::worker
