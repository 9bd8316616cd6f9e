// Files and directories that root keeps: everything below a descriptor and by a single component, see open_beneath.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker-root/kernel/result.h"
#include "shared/fd.h"

namespace joblet::kernel {

// From the start of the file, until the buffer is full or the file ends.
Result<std::size_t> read_file(int file, std::span<std::byte> buffer);

enum class Durability : std::uint8_t { Lazy, Synced };
// The whole file or the old one, never something between: written as `temporary` (an old one of that name is overwritten), then
// renamed. Synced: the file's bytes are on disk before it is renamed; the directory is the caller's to sync.
Result<void> replace_file(int directory, const char* name, const char* temporary, std::span<const std::byte> bytes, Durability durability);
// fsync(2) of a file or directory opened for reading or writing.
Result<void> sync_to_disk(int fd);

// syncfs(2): everything on the file system that the descriptor, open for reading or writing, is on.
Result<void> sync_file_system(int fd);

// With exactly that mode, whatever the umask; owned by the caller. EEXIST if there is anything of that name.
Result<void> make_directory(int parent, const char* name, std::uint32_t mode);
// mkdir(2) alone, `parent` may be O_PATH; nothing is opened. Mode 0700. EEXIST if there is anything of that name.
Result<void> make_mount_point(int parent, const char* name);
// mkdir -p below `parent`, with exactly that mode where it makes one: `path` is components, never "." or "..", none of them a symbolic
// link or a mount point. For trees that nobody else can reach.
Result<void> make_path(int parent, std::string_view path, std::uint32_t mode);
// Names in the directory, without "." and "..". The descriptor must be open for reading; its position is changed.
Result<std::vector<std::string>> list_directory(int directory);
// Not an error if there is none of that name.
Result<void> remove_file(int directory, const char* name);
Result<void> remove_directory(int parent, const char* name); // ENOENT, ENOTEMPTY as rmdir(2)
// Both on one mount. EEXIST if `to` has that name already.
Result<void> rename_into(int from, int to, const char* name);
// The same, over what `to` has of that name: there is one or the other at any time.
Result<void> replace_by(int from, int to, const char* name);
Result<void> make_symlink(int directory, const char* name, const char* target);
// True if the link says exactly that.
Result<bool> symlink_says(int directory, const char* name, const char* target);
Result<void> make_character_device(int directory, const char* name, unsigned major, unsigned minor, std::uint32_t mode);

// Also of an O_PATH descriptor.
Result<struct stat> status_of(int fd);
// Of the name itself, no symlink followed.
Result<struct stat> status_beneath(int directory, const char* name);
Result<void> change_owner(int fd, std::uint32_t uid, std::uint32_t gid);
Result<void> change_mode(int fd, std::uint32_t mode);
// The file is at least that long and has all its blocks, which read as zeros.
Result<void> preallocate(int file, std::uint64_t bytes);
// ftruncate(2). `file` is open for writing.
Result<void> set_length(int file, std::uint64_t bytes);

struct FreeSpace {
    std::uint64_t bytes = 0;  // that anybody can still write
    std::uint64_t inodes = 0; // that can still be made
};
Result<FreeSpace> free_space(int mount);
// f_type of fstatfs(2), also of an O_PATH descriptor: a number of <linux/magic.h>.
Result<std::uint32_t> file_system_type(int fd);

struct SpaceInUse {
    std::uint64_t bytes = 0;
    std::uint64_t bytes_limit = 0; // what is used and what can still be written
    std::uint64_t inodes = 0;
    std::uint64_t inodes_limit = 0;
    std::uint64_t block_size = 0;
    std::uint64_t magic = 0; // f_type, statfs(2)
};
// Of the whole file system.
Result<SpaceInUse> space_in_use(int mount);

enum class LockKind : std::uint8_t { Shared, Exclusive };
// flock(2), never waiting: EWOULDBLOCK. Belongs to the open file, so whatever holds that (a loop device) holds the lock.
Result<void> try_lock(int file, LockKind kind);

} // namespace joblet::kernel
