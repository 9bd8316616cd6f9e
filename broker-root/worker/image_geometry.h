// How large an image file must be for a volume of a given size, and how mke2fs is to lay ext4 out in it. Pure: the broker
// asks before it orders, the worker checks afterwards what the kernel makes of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker-root/worker/orders.h"

namespace joblet::worker {

// Bytes of the image, so that `size_bytes` can be written to one file (f_bavail, as statfs(2) tells) and `inodes` files can be
// made. inodes 0: one per 16 KiB, at least 256. The result is a multiple of 1 KiB; 0 means that no such ext4 exists (it has
// at most 2^32 blocks and 2^32 inodes as it is made here: 16 TiB). Precondition: size_bytes is 1 MiB or more.
std::uint64_t image_bytes_for(std::uint64_t size_bytes, std::uint64_t inodes);

// The inodes that a volume has when it was asked for `inodes` (0: the default for this size).
std::uint64_t image_inodes_for(std::uint64_t size_bytes, std::uint64_t inodes);

// argv of mke2fs, which finds the image as its stdin. Uses size_bytes, inodes and image_bytes of the record, the last as
// image_bytes_for gives it. Every property is spelled out, so that mke2fs.conf of the host changes nothing.
std::vector<std::string> mkfs_arguments(const VolumeRecord& record);

} // namespace joblet::worker
