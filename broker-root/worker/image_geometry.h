// How large an image file must be for a volume of a given size, and how mke2fs is to lay ext4 out in it. Pure: the broker
// asks before it orders, the worker checks afterwards what the kernel makes of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker-root/worker/orders.h"

namespace joblet::worker {

// Inodes of an ext4 that nobody can use: 1 to 10 (ext4 documentation, special inodes).
inline constexpr std::uint64_t kImageInodesReserved = 10;

// Bytes of the image, so that `size_bytes` can be written to one file (f_bavail, as statfs(2) tells) and `inodes` files can be
// made. inodes 0: one per 16 KiB, at least 256. The result is a multiple of 1 KiB; 0 means that no such ext4 exists (it has
// at most 2^32 blocks and 2^32 inodes as it is made here: 16 TiB). Precondition: size_bytes is 1 MiB or more.
std::uint64_t image_bytes_for(std::uint64_t size_bytes, std::uint64_t inodes);

// The inodes that a volume has when it was asked for `inodes` (0: the default for this size).
std::uint64_t image_inodes_for(std::uint64_t size_bytes, std::uint64_t inodes);

// argv of mke2fs, which finds the image as its stdin. Uses size_bytes, inodes and image_bytes of the record, the last as
// image_bytes_for gives it. Every property is spelled out, so that mke2fs.conf of the host changes nothing.
std::vector<std::string> mkfs_arguments(const VolumeRecord& record);

// Bytes of an image that an existing file system of another size becomes. It keeps the blocks, and the inodes of each group, that it was
// made with: so there is a sixteenth more than a new one would need. Whether that is enough is checked afterwards, by the worker. Multiple
// of 4 KiB; 0 as above.
std::uint64_t resized_image_bytes_for(std::uint64_t size_bytes, std::uint64_t inodes);

// The two system jobs that make a resized image of one that no job has. First: stdin is the old one, stdout the new one.
std::vector<std::string> copy_arguments();
// Then: the new one, with the copy in it, is stdin. The file system is checked, and becomes as large as `record` says that its file is: it
// may be smaller than the copy, if what is in it allows. Uses size_bytes and image_bytes of the record.
std::vector<std::string> resize_arguments(const VolumeRecord& record);

} // namespace joblet::worker
