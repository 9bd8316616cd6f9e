#include "broker-root/worker/backends/btrfs.h"

#include <fcntl.h>

#include <utility>

#include "broker-root/kernel/btrfs.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/backends/data_directory.h"

namespace joblet::worker {
namespace {

constexpr auto kSubvolume = "subvolume";

// The limit counts the subvolume's own tree, too. Measured: 32 KiB let a file of the size asked for be written in one go; in
// pieces of 4 KiB, each synced, every one costs 78 bytes in leaves that are not full, up to a thirty-second of the size.
std::uint64_t limit_for(std::uint64_t size_bytes) {
    constexpr std::uint64_t kTreeBytes = 65536;
    return size_bytes + size_bytes / 32 + kTreeBytes;
}

Outcome<void> limit(int directory, int subvolume, std::uint64_t bytes) {
    const auto id = kernel::subvolume_id(subvolume);
    const auto limited = id ? kernel::limit_subvolume(directory, *id, bytes) : std::unexpected(id.error());
    return limited ? Outcome<void>() : failed(Step::LimitSubvolume, limited.error());
}

Outcome<Fd> make_limited(int directory, std::uint64_t bytes) {
    if (const auto made = kernel::make_subvolume(directory, kSubvolume); !made) {
        return failed(Step::MakeSubvolume, made.error());
    }
    auto subvolume = kernel::open_beneath(directory, kSubvolume, O_RDONLY | O_DIRECTORY);
    if (!subvolume) {
        return failed(Step::MakeSubvolume, subvolume.error());
    }
    if (const auto changed = kernel::change_mode(subvolume->get(), kHolderMode); !changed) {
        return failed(Step::MakeSubvolume, changed.error());
    }
    if (const auto limited = limit(directory, subvolume->get(), bytes); !limited) {
        return std::unexpected(limited.error());
    }
    return std::move(*subvolume);
}

} // namespace

Outcome<Fd> BtrfsBackend::create(int directory, const VolumeRecord& record, std::uint32_t) const {
    if (record.inodes != 0) { // nothing there counts files
        return failed(Step::MakeSubvolume, EOPNOTSUPP);
    }
    if (const auto fits = check_fits(Step::LimitSubvolume, directory, record); !fits) {
        return std::unexpected(fits.error());
    }
    const auto subvolume = make_limited(directory, limit_for(record.size_bytes));
    if (!subvolume) {
        return std::unexpected(subvolume.error());
    }
    if (const auto made = make_data(Step::MakeSubvolume, subvolume->get(), label_for(has_labels_, record)); !made) {
        return std::unexpected(made.error());
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
    return root && root->st_ino == kernel::kSubvolumeInode && root->st_dev != outside->st_dev && has_data(subvolume->get());
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
    if (const auto limited = limit(directory, subvolume->get(), limit_for(record.size_bytes)); !limited) {
        return std::unexpected(limited.error());
    }
    return mount_data(subvolume->get(), attachment);
}

Outcome<protocol::Usage> BtrfsBackend::measure(int directory, const VolumeRecord&, int) const {
    const auto subvolume = kernel::open_beneath(directory, kSubvolume, O_RDONLY | O_DIRECTORY);
    const auto usage = subvolume ? kernel::subvolume_usage(subvolume->get()) : std::unexpected(subvolume.error());
    if (!usage) {
        return failed(Step::MeasureVolume, usage.error());
    }
    return protocol::Usage{.bytes = usage->bytes, .bytes_limit = usage->bytes_limit};
}

Outcome<void> BtrfsBackend::resize(int directory, const VolumeRecord& before, const VolumeRecord& after, int) const {
    if (after.inodes != 0) {
        return failed(Step::ResizeVolume, EOPNOTSUPP);
    }
    if (auto fits = check_fits(Step::ResizeVolume, directory, after); !fits) {
        return fits;
    }
    const auto subvolume = kernel::open_beneath(directory, kSubvolume, O_RDONLY | O_DIRECTORY);
    if (!subvolume) {
        return failed(Step::ResizeVolume, subvolume.error());
    }
    const std::uint64_t bytes = limit_for(after.size_bytes);
    if (auto limited = limit(directory, subvolume->get(), bytes); !limited) {
        return limited;
    }
    if (after.size_bytes >= before.size_bytes) {
        return {};
    }
    // What is counted is what was committed. Nothing can be written beyond the new limit any more, so what is found now stays true.
    const auto checked = [&]() -> Outcome<void> {
        const auto synced = kernel::sync_file_system(subvolume->get());
        const auto usage = synced ? kernel::subvolume_usage(subvolume->get()) : std::unexpected(synced.error());
        if (!usage) {
            return failed(Step::ResizeVolume, usage.error());
        }
        return usage->bytes <= bytes ? Outcome<void>() : beyond_limit();
    }();
    if (!checked) {
        if (auto undone = limit(directory, subvolume->get(), limit_for(before.size_bytes)); !undone) {
            return undone; // the next time it is opened it has the limit of its record
        }
    }
    return checked;
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
