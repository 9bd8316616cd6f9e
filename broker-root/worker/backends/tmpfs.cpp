#include "broker-root/worker/backends/tmpfs.h"

#include <linux/magic.h>

#include <algorithm>

#include "broker-root/kernel/record_io.h"
#include "broker-root/kernel/selinux.h"

namespace joblet::worker {

std::uint64_t tmpfs_inodes(std::uint64_t size_bytes, std::uint64_t inodes) {
    constexpr std::uint64_t kPage = 4096;
    constexpr std::uint64_t kLeast = 1024;
    return (inodes != 0 ? inodes : std::max(kLeast, size_bytes / kPage)) + 1;
}

Outcome<Fd> TmpfsBackend::create(int, const VolumeRecord&, std::uint32_t) const {
    return Fd();
}

Outcome<void> TmpfsBackend::complete(int, const VolumeRecord&) const {
    return {};
}

bool TmpfsBackend::is_intact(int, const VolumeRecord&) const {
    return true;
}

Outcome<Fd> TmpfsBackend::open(int, const VolumeRecord& record, const Attachment& attachment) const {
    // The slot's own ids instead of an idmap: tmpfs has that from Linux 6.3 only.
    const auto label = kernel::label_of(kernel::Labelled::Volume, record.owner_uid);
    auto mount = kernel::make_tmpfs({.size_bytes = record.size_bytes,
                                     .inodes = tmpfs_inodes(record.size_bytes, record.inodes),
                                     .mode = 0700,
                                     .uid = attachment.slot_first,
                                     .gid = attachment.slot_first,
                                     .swap = swap_,
                                     .context = has_labels_ ? label.data() : nullptr},
                                    attachment.access == protocol::Access::ReadOnly ? kernel::Attributes::ReadOnlyNoSuidNoDev
                                                                                    : kernel::Attributes::NoSuidNoDev);
    if (!mount) {
        return failed(Step::MountTmpfs, mount.error());
    }
    return std::move(*mount);
}

kernel::Result<Fd> TmpfsBackend::claim(int) const {
    return Fd();
}

Outcome<protocol::Usage> TmpfsBackend::measure(int, const VolumeRecord& record, int mounted) const {
    if (mounted < 0) { // there is none, so it is empty; its limits are those that it would have
        return protocol::Usage{.bytes_limit = record.size_bytes, .inodes_limit = tmpfs_inodes(record.size_bytes, record.inodes)};
    }
    const auto space = kernel::space_in_use(mounted);
    if (!space) {
        return failed(Step::MeasureVolume, space.error());
    }
    if (space->magic != TMPFS_MAGIC) {
        return failed(Step::MeasureVolume, EUCLEAN);
    }
    return protocol::Usage{
        .bytes = space->bytes, .bytes_limit = space->bytes_limit, .inodes = space->inodes, .inodes_limit = space->inodes_limit};
}

Outcome<void> TmpfsBackend::resize(int directory, const VolumeRecord& before, const VolumeRecord& after, int mounted) const {
    if (mounted < 0) {
        return {};
    }
    const auto usage = measure(directory, before, mounted);
    if (!usage) {
        return std::unexpected(usage.error());
    }
    const std::uint64_t inodes = tmpfs_inodes(after.size_bytes, after.inodes);
    const auto resized = kernel::resize_tmpfs(mounted, after.size_bytes, inodes);
    if (resized) {
        return {};
    }
    // The kernel looks itself, and says EINVAL of whatever it does not like; what was measured is for telling which it was.
    const bool too_small = usage->bytes > after.size_bytes || usage->inodes > inodes;
    return resized.error() == EINVAL && too_small ? beyond_limit() : failed(Step::ResizeVolume, resized.error());
}

Outcome<void> TmpfsBackend::remove(int) const {
    return {};
}

} // namespace joblet::worker
