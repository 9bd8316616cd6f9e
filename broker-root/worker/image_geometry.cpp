#include "broker-root/worker/image_geometry.h"

#include <algorithm>

namespace joblet::worker {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
constexpr std::uint64_t kGiB = kMiB << 10U;

constexpr std::uint64_t kInodeSize = 256;
constexpr std::uint64_t kGroupDescriptorSize = 32;                  // without the feature 64bit
constexpr std::uint64_t kFirstUserInode = kImageInodesReserved + 1; // 11 is lost+found
constexpr std::uint64_t kLastGroupMargin = 50;                      // ext2fs_initialize() drops a last group with fewer blocks to spare
constexpr std::uint64_t kLostAndFound = 16384;                      // bytes, mke2fs makes it that large
constexpr std::uint64_t kBitsPerByte = 8;                           // a group's bitmaps of blocks and of inodes are one block each

constexpr std::uint64_t divide_up(std::uint64_t value, std::uint64_t by) {
    return value / by + (value % by != 0 ? 1 : 0);
}

// Small volumes have small blocks: a journal needs 1024 of them whatever their size (jbd2), which would be 4 MiB.
constexpr std::uint64_t block_size_for(std::uint64_t size_bytes) {
    return size_bytes < 32 * kMiB ? 1024 : 4096;
}

// MiB, the unit of mke2fs -J size=. More is faster for many small changes, and lost to data.
constexpr std::uint64_t journal_mib_for(std::uint64_t size_bytes) {
    struct Row {
        std::uint64_t below;
        std::uint64_t mib;
    };
    constexpr Row kRows[] = {{32 * kMiB, 1}, {256 * kMiB, 4}, {kGiB, 16}, {32 * kGiB, 64}};
    for (const auto& row : kRows) {
        if (size_bytes < row.below) {
            return row.mib;
        }
    }
    return 128;
}

bool is_power_of(std::uint64_t value, std::uint64_t base) {
    while (value % base == 0) {
        value /= base;
    }
    return value == 1;
}

// Groups with a copy of superblock and descriptors (sparse_super): 0, 1 and the powers of 3, 5 and 7.
bool has_super(std::uint64_t group) {
    return group <= 1 || is_power_of(group, 3) || is_power_of(group, 5) || is_power_of(group, 7);
}
std::uint64_t supers_in(std::uint64_t groups) {
    std::uint64_t count = std::min<std::uint64_t>(groups, 2);
    for (const std::uint64_t base : {3U, 5U, 7U}) {
        for (std::uint64_t power = base; power < groups; power *= base) {
            ++count;
        }
    }
    return count;
}

// ext4 as ext2fs_initialize() of e2fsprogs lays it out in `blocks` blocks.
struct Layout {
    std::uint64_t block_size = 0;
    std::uint64_t blocks = 0;
    std::uint64_t groups_for_inodes = 0; // at least that many
    std::uint64_t blocks_per_group = 0;
    std::uint64_t groups = 0;
    std::uint64_t inodes_per_group = 0;
    std::uint64_t table_blocks = 0;      // inode table, per group
    std::uint64_t descriptor_blocks = 0; // per copy

    Layout(std::uint64_t block_size_, std::uint64_t blocks_, std::uint64_t inodes) : block_size(block_size_), blocks(blocks_) {
        groups_for_inodes = divide_up(inodes, kBitsPerByte * block_size);
        blocks_per_group = kBitsPerByte * block_size;
        if (divide_up(blocks - first_block(), blocks_per_group) < groups_for_inodes) {
            // A group has one bitmap block of inodes, too: where many are asked for, groups are smaller, so that there are
            // enough of them. Otherwise room for data would come with the inodes, which nobody has asked for.
            blocks_per_group = (blocks - first_block()) / groups_for_inodes / kBitsPerByte * kBitsPerByte;
        }
        groups = divide_up(blocks - first_block(), blocks_per_group);
        // Whole table blocks and whole bitmap bytes: mke2fs would round down, below what was asked.
        const std::uint64_t step = std::max(kBitsPerByte, block_size / kInodeSize);
        inodes_per_group = divide_up(divide_up(inodes, groups), step) * step;
        table_blocks = inodes_per_group * kInodeSize / block_size;
        descriptor_blocks = divide_up(groups * kGroupDescriptorSize, block_size);
    }

    [[nodiscard]] std::uint64_t first_block() const {
        return block_size == 1024 ? 1 : 0; // block 0 is the boot block then
    }
    [[nodiscard]] std::uint64_t inodes() const {
        return inodes_per_group * groups;
    }
    // Blocks to add so that mke2fs keeps the last group, 0 if it does.
    [[nodiscard]] std::uint64_t last_group_lacks() const {
        const std::uint64_t rest = (blocks - first_block()) % blocks_per_group;
        if (rest == 0) {
            return 0;
        }
        if (blocks_per_group < kBitsPerByte * block_size) { // a little more in each instead of one group more
            return divide_up(blocks - first_block(), groups_for_inodes * kBitsPerByte) * groups_for_inodes * kBitsPerByte + first_block() -
                   blocks;
        }
        const std::uint64_t needs = 2 + table_blocks + (has_super(groups - 1) ? 1 + descriptor_blocks : 0) + kLastGroupMargin;
        return rest < needs ? needs - rest : 0;
    }
    // What f_bavail never shows: metadata, and the clusters that ext4 keeps for itself at mount, 2 % and at most 4096
    // (ext4_calculate_resv_clusters).
    [[nodiscard]] std::uint64_t overhead(std::uint64_t journal_blocks) const {
        const std::uint64_t per_group = 2 + table_blocks;
        const std::uint64_t root_directory = 1;
        const std::uint64_t kept = std::min<std::uint64_t>(blocks / 50, 4096);
        // Extent index blocks of large files, and the journal's: an extent ends with a group, and 84 or 340 fit a block.
        const std::uint64_t extents = 16 + groups;
        return first_block() + groups * per_group + supers_in(groups) * (1 + descriptor_blocks) + journal_blocks + root_directory +
               kLostAndFound / block_size + kept + extents;
    }
};

// "none" first: what mke2fs.conf adds by default is unknown here and would change the sums. No resize_inode: its reserved blocks
// are lost to data.
constexpr auto kFeatures = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,"
                           "extra_isize,metadata_csum";

// $1: KiB of the file system, $2: MiB of its journal. e2fsck says 1 where it has repaired something, which after a crash is what it is for.
// The journal is made anew, because its size goes with the volume's, and takes from a small one what a large one does not miss.
// A job has neither /etc/mtab nor /proc/mounts, by which the tools look whether it is mounted; the worker's lock says that it is not.
constexpr auto kResizeScript = R"(image=/proc/self/fd/0
export EXT2FS_NO_MTAB_OK=1
/usr/sbin/e2fsck -f -y "$image" || [ $? -eq 1 ] || exit 1
/usr/sbin/tune2fs -O ^has_journal "$image" &&
  /usr/sbin/resize2fs "$image" "$1K" &&
  /usr/sbin/tune2fs -J size="$2" "$image"
)";

constexpr std::uint64_t kBlocksMax = 0xFFFFFFFF;
constexpr std::uint64_t kInodesMax = 0xFFFFFFFF;

} // namespace

std::uint64_t image_inodes_for(std::uint64_t size_bytes, std::uint64_t inodes) {
    constexpr std::uint64_t kBytesPerInode = 16384;
    return inodes != 0 ? inodes : std::max<std::uint64_t>(256, size_bytes / kBytesPerInode);
}

std::uint64_t image_bytes_for(std::uint64_t size_bytes, std::uint64_t inodes) {
    const std::uint64_t block_size = block_size_for(size_bytes);
    const std::uint64_t data_blocks = divide_up(size_bytes, block_size);
    const std::uint64_t all_inodes = image_inodes_for(size_bytes, inodes) + kFirstUserInode;
    const std::uint64_t journal_blocks = journal_mib_for(size_bytes) * kMiB / block_size;
    // What is added to hold the overhead has overhead itself: go up until it fits. Every step adds at least what is
    // missing, and overhead grows by far less than one block a block, so this ends.
    std::uint64_t blocks = data_blocks + journal_blocks + all_inodes * kInodeSize / block_size;
    for (;;) {
        if (blocks > kBlocksMax) {
            return 0;
        }
        const Layout layout(block_size, blocks, all_inodes);
        if (layout.inodes() > kInodesMax) {
            return 0;
        }
        const std::uint64_t needed = data_blocks + layout.overhead(journal_blocks);
        if (needed > blocks) {
            blocks = needed;
        } else if (const auto lacking = layout.last_group_lacks(); lacking != 0) {
            blocks += lacking;
        } else {
            return blocks * block_size;
        }
    }
}

std::vector<std::string> mkfs_arguments(const VolumeRecord& record) {
    const std::uint64_t block_size = block_size_for(record.size_bytes);
    const std::uint64_t blocks = record.image_bytes / block_size;
    const Layout layout(block_size, blocks, image_inodes_for(record.size_bytes, record.inodes) + kFirstUserInode);
    return {
        "/usr/sbin/mke2fs",
        "-q",
        "-F", // a regular file
        "-t",
        "ext4",
        "-b",
        std::to_string(block_size),
        "-I",
        std::to_string(kInodeSize),
        "-g",
        std::to_string(layout.blocks_per_group),
        "-N",
        std::to_string(layout.inodes()),
        "-m",
        "0",
        "-e",
        "remount-ro",
        "-J",
        "size=" + std::to_string(journal_mib_for(record.size_bytes)),
        "-O",
        kFeatures,
        // nodiscard: a discard would punch holes into the preallocated file. Preallocated space reads as zeros, so there is
        // nothing to zero, now or by the kernel after the first mount. The root directory is handed over by the worker.
        "-E",
        "nodiscard,lazy_itable_init=1,assume_storage_prezeroed=1,root_owner=0:0",
        "/proc/self/fd/0",
        std::to_string(blocks),
    };
}

std::uint64_t resized_image_bytes_for(std::uint64_t size_bytes, std::uint64_t inodes) {
    constexpr std::uint64_t kBlock = 4096;
    const std::uint64_t as_new = image_bytes_for(size_bytes, inodes);
    return as_new == 0 ? 0 : std::min(divide_up(as_new + size_bytes / 16, kBlock), kBlocksMax) * kBlock;
}

std::vector<std::string> copy_arguments() {
    return {"/usr/bin/cat"};
}

std::vector<std::string> resize_arguments(const VolumeRecord& record) {
    return {"/usr/bin/sh",
            "-c",
            kResizeScript,
            "resize", // $0
            std::to_string(record.image_bytes / 1024),
            std::to_string(journal_mib_for(record.size_bytes))};
}

} // namespace joblet::worker
