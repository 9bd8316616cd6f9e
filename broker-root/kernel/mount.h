// The mount API of Linux 5.2 and later, typed. Only here and in namespace.h are mount calls named; mount(2) is nowhere.
// Everything takes descriptors; a `const char*` is one component below one, or a path inside a namespace of our own.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "broker-root/kernel/result.h"
#include "shared/fd.h"

namespace joblet::kernel {

enum class Attributes : std::uint64_t {
    NoSuidNoDev,          // volumes, work, tmp
    NoSuidNoDevNoExec,    // what never holds programs: /volumes itself, proc
    NoSuidNoExec,         // device nodes and devpts, the only mounts without nodev
    ReadOnlyNoSuidNoDev,  // base directories
    ReadOnlyNoSuidNoExec, // device nodes in a job
    ReadOnlyAllNoExec,    // proc in a job: ro,nosuid,nodev,noexec
};

enum class Swap : std::uint8_t { Allowed, Never }; // Never: noswap, Linux 6.4

struct TmpfsOptions {
    std::uint64_t size_bytes = 0; // rounded up to pages by the kernel; 0 would mean unlimited and is EINVAL here
    std::uint64_t inodes = 0;     // 0 would mean millions and is EINVAL here
    std::uint32_t mode = 0;       // 0755, 01777, …
    std::uint32_t uid = 0;        // host ids
    std::uint32_t gid = 0;
    Swap swap = Swap::Allowed;
    const char* context = nullptr; // SELinux context of all that is in it, for good; none: as the policy has it
};
// Detached. fstatfs confirms size and inodes: what the kernel did not take is EOVERFLOW.
Result<Fd> make_tmpfs(const TmpfsOptions& options, Attributes attributes);
// Whether this kernel takes Swap::Never. Tried, on one that is never mounted.
Result<bool> tmpfs_can_avoid_swap();
// Of the tmpfs that `root` is the root of, O_PATH will do, wherever it is mounted. EINVAL: more is used already, and nothing is changed.
Result<void> resize_tmpfs(int root, std::uint64_t size_bytes, std::uint64_t inodes);

// A devpts instance of its own, detached: mode=0620, ptmxmode=0666, nosuid, noexec.
Result<Fd> make_devpts(std::uint32_t uid, std::uint32_t gid);

enum class HidePid : std::uint8_t { No, Ptraceable };
enum class ProcParts : std::uint8_t { Pids, All }; // Pids: subset=pid, processes and nothing of the machine
// proc of the caller's pid namespace, detached.
Result<Fd> make_proc(HidePid hide, Attributes attributes, ProcParts parts = ProcParts::Pids);

// ext4 on a block device named by a path in the caller's own mount namespace, detached, nosuid,nodev (and read-only).
Result<Fd> make_ext4(const char* device, bool read_only);

// open_tree(OPEN_TREE_CLONE), without children. EINVAL on Linux 6.1 if `directory` is itself a detached mount.
Result<Fd> clone_mount(int directory, const char* name);

// For detached mounts. idmap: a user namespace descriptor; possible once.
Result<void> set_attributes(int mount, Attributes attributes);
// The same, and what is not among them is cleared: a clone has what the mount has that it was cloned from.
Result<void> replace_attributes(int mount, Attributes attributes);
Result<void> make_read_only(int mount);
Result<void> idmap_mount(int mount, int user_namespace);

// Attach `mount` at `name` below `directory` ("" with a descriptor: onto the directory itself).
Result<void> move_mount_to(int mount, int directory, const char* name);
// MNT_DETACH | UMOUNT_NOFOLLOW
Result<void> detach_mount(const char* path);

// The one way to open an object below a directory: a single component, no symlink, no magic link, not beyond the mount.
// flags: O_PATH | O_DIRECTORY and so on; O_CLOEXEC and O_NOFOLLOW are added. mode only with O_CREAT.
Result<Fd> open_beneath(int directory, const char* name, int flags, std::uint32_t mode = 0);
// The directory itself once more, for reading: what fsmount and open_tree give is O_PATH and cannot be listed or changed.
Result<Fd> open_directory(int directory);
// Any path in the caller's own namespace, for set-up before the filter: no symlink in any component.
Result<Fd> open_path(const char* path, int flags);

} // namespace joblet::kernel
