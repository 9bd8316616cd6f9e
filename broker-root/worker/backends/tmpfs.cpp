#include "broker-root/worker/backends/tmpfs.h"

#include <algorithm>

#include "broker-root/kernel/mount.h"

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
    auto mount = kernel::make_tmpfs({.size_bytes = record.size_bytes,
                                     .inodes = tmpfs_inodes(record.size_bytes, record.inodes),
                                     .mode = 0700,
                                     .uid = attachment.slot_first,
                                     .gid = attachment.slot_first},
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

Outcome<void> TmpfsBackend::remove(int) const {
    return {};
}

} // namespace joblet::worker
