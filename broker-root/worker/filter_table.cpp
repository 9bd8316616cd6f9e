#include "broker-root/worker/filter_table.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/loop.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <csignal>

#include "broker-root/kernel/ext4.h"
#include "broker-root/kernel/quota.h"
#include "broker-root/kernel/selinux.h"

namespace joblet::worker {
namespace {

constexpr std::uint64_t kNoDevices = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr std::uint64_t kNoPrograms = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
constexpr std::uint32_t kOpenTree = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW;

constexpr auto kCalls = std::to_array<SyscallRule>({
    // the broker
    {SYS_recvmsg, "recvmsg", "takes orders"},
    {SYS_sendmsg, "sendmsg", "answers them"},
    {SYS_close, "close", "gives descriptors up; of a mount, this unmounts"},
    {SYS_exit_group, "exit_group", "ends when the broker has ended"},
    {SYS_rt_sigreturn, "rt_sigreturn", "returns from the kernel's restart of an interrupted call"},
    {SYS_restart_syscall, "restart_syscall", "goes on sleeping after a stop"},
    // memory
    {SYS_brk, "brk", "allocates"},
    {SYS_mmap, "mmap", "allocates, never executable", {arg_has(2, PROT_EXEC, 0)}},
    {SYS_munmap, "munmap", "frees"},
    {SYS_mremap, "mremap", "grows what was allocated"},
    {SYS_madvise, "madvise", "gives freed memory back", {arg_is32(2, MADV_DONTNEED)}},
    {SYS_futex, "futex", "the log's lock"},
    {SYS_getpid, "getpid", "log lines"},
    {SYS_gettid, "gettid", "log lines"},
    {SYS_clock_gettime, "clock_gettime", "log lines and deadlines, where the machine's clock cannot be read without a call"},
    {SYS_clock_nanosleep, "clock_nanosleep", "waits for a loop device to go"},
    // files below descriptors
    {SYS_openat2, "openat2", "opens one component, no symlinks", {arg_is(3, sizeof(open_how))}},
    {SYS_openat, "openat", "its own mount namespace, through the detached proc", {arg_has(2, O_ACCMODE | O_CREAT, O_RDONLY)}},
    {SYS_newfstatat, "newfstatat", "type, owner, mode, device and size of what was opened, and of a base's entries"},
    {SYS_fstat, "fstat", "the same"},
    {SYS_fstatfs, "fstatfs", "what is used of an image or a tmpfs; whether that has taken size and inodes"},
    {SYS_pread64, "pread64", "reads records and labels"},
    {SYS_read, "read", "what the kernel says about a mount that failed"},
    {SYS_write, "write", "records, labels, log lines"},
    {SYS_lseek, "lseek", "lists a directory from its start"},
    {SYS_getdents64, "getdents64", "lists volumes, trash, staging and jobs"},
    {SYS_mkdirat, "mkdirat", "directories of volumes, jobs and mount points"},
    {SYS_symlinkat, "symlinkat", "a template's bin, sbin, lib, lib64 where /usr is merged"},
    {SYS_readlinkat, "readlinkat", "whether a base's are just that"},
    {SYS_unlinkat, "unlinkat", "own files and empty directories"},
    {SYS_renameat, "renameat", "replaces a record, or an image by its resized copy"},
    {SYS_renameat2, "renameat2", "into volumes and into trash, over nothing", {arg_is32(4, RENAME_NOREPLACE)}},
    {SYS_fchmod, "fchmod", "directories that jobs must be able to enter; an image taken back"},
    {SYS_fchownat, "fchownat", "an image to the slot and back; the root of a new volume", {arg_is32(4, AT_EMPTY_PATH)}},
    {SYS_fsetxattr,
     "fsetxattr",
     "the SELinux label of a new volume: of one length, which no file capability and no access list has",
     {arg_is(3, kernel::kLabelBytes), arg_is32(4, 0)}},
    {SYS_fsync, "fsync", "before a promise"},
    {SYS_syncfs, "syncfs", "before a promise about a btrfs subvolume, and so that what it holds is counted"},
    {SYS_ftruncate, "ftruncate", "cuts the copy of an image that a system job has made smaller"},
    {SYS_fallocate, "fallocate", "an image has all its blocks from the start", {arg_is32(1, 0)}},
    {SYS_flock, "flock", "claims an image for writing", {arg_is32(1, LOCK_EX | LOCK_NB)}},
    {SYS_flock, "flock", "claims an image for reading", {arg_is32(1, LOCK_SH | LOCK_NB)}},
    // loop devices
    {SYS_ioctl, "ioctl", "finds a free loop device", {arg_is32(1, LOOP_CTL_GET_FREE)}},
    {SYS_ioctl, "ioctl", "binds it to an image", {arg_is32(1, LOOP_CONFIGURE)}},
    {SYS_ioctl, "ioctl", "whether the one that a job has is an image's", {arg_is32(1, LOOP_GET_STATUS64)}},
    {SYS_ioctl, "ioctl", "tells it that the image has grown", {arg_is32(1, LOOP_SET_CAPACITY)}},
    {SYS_ioctl, "ioctl", "grows the file system of a running job", {arg_is32(1, kernel::kExt4Resize)}},
    {SYS_capget, "capget", "what to go back to after that"},
    {SYS_capset, "capset", "SYS_RESOURCE and DAC_READ_SEARCH for that call, and not longer; more than is permitted cannot be had"},
    // project quotas
    {SYS_ioctl, "ioctl", "reads a directory's project id", {arg_is32(1, kernel::kProjectGet)}},
    {SYS_ioctl, "ioctl", "sets that of a new volume", {arg_is32(1, kernel::kProjectSet)}},
    {kernel::kQuotactlFd, "quotactl_fd", "what a project uses, and its limits", {arg_is32(1, kernel::kQuotaGet)}},
    {kernel::kQuotactlFd, "quotactl_fd", "sets them", {arg_is32(1, kernel::kQuotaSet)}},
    {kernel::kQuotactlFd, "quotactl_fd", "looks through all projects", {arg_is32(1, kernel::kQuotaNext)}},
    {kernel::kQuotactlFd, "quotactl_fd", "whether they hold", {arg_is32(1, kernel::kQuotaState)}},
    // btrfs
    {SYS_ioctl, "ioctl", "makes a volume's subvolume", {arg_is32(1, BTRFS_IOC_SUBVOL_CREATE)}},
    {SYS_ioctl, "ioctl", "limits it", {arg_is32(1, BTRFS_IOC_QGROUP_LIMIT)}},
    {SYS_ioctl, "ioctl", "removes it, with what is in it", {arg_is32(1, BTRFS_IOC_SNAP_DESTROY)}},
    {SYS_ioctl, "ioctl", "finds its id, under which it was counted", {arg_is32(1, BTRFS_IOC_INO_LOOKUP)}},
    {SYS_ioctl, "ioctl", "what was counted", {arg_is32(1, BTRFS_IOC_TREE_SEARCH)}},
    {SYS_ioctl, "ioctl", "removes that count", {arg_is32(1, BTRFS_IOC_QGROUP_CREATE)}},
    // mounts
    {SYS_fsopen, "fsopen", "tmpfs, devpts, ext4", {arg_is32(1, FSOPEN_CLOEXEC)}},
    {SYS_fsconfig, "fsconfig", "their options: flags", {arg_is32(1, FSCONFIG_SET_FLAG)}},
    {SYS_fsconfig, "fsconfig", "their options: text", {arg_is32(1, FSCONFIG_SET_STRING)}},
    {SYS_fsconfig, "fsconfig", "makes them", {arg_is32(1, FSCONFIG_CMD_CREATE)}},
    {SYS_fsconfig, "fsconfig", "resizes the tmpfs of a running job", {arg_is32(1, FSCONFIG_CMD_RECONFIGURE)}},
    {SYS_fspick, "fspick", "the tmpfs of a running job, to resize it", {arg_is32(2, FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)}},
    {SYS_fsmount, "fsmount", "never without nosuid and nodev", {arg_is32(1, FSMOUNT_CLOEXEC), arg_has(2, kNoDevices, kNoDevices)}},
    {SYS_fsmount, "fsmount", "a job's terminals: nosuid and noexec", {arg_is32(1, FSMOUNT_CLOEXEC), arg_has(2, kNoPrograms, kNoPrograms)}},
    {SYS_open_tree, "open_tree", "clones one mount, never its children", {arg_has(2, kOpenTree | AT_RECURSIVE, kOpenTree)}},
    {SYS_mount_setattr, "mount_setattr", "read-only, idmap and restrictions of one mount", {arg_is32(2, AT_EMPTY_PATH)}},
    {SYS_mount_setattr, "mount_setattr", "a new namespace gets private", {arg_is32(2, AT_RECURSIVE)}},
    {SYS_move_mount, "move_mount", "attaches a mount given by descriptor at a path", {arg_is32(4, MOVE_MOUNT_F_EMPTY_PATH)}},
    {SYS_unshare, "unshare", "a namespace for a template", {arg_is(0, CLONE_NEWNS)}},
    {SYS_setns, "setns", "into it or a running job's, and back", {arg_is32(1, CLONE_NEWNS)}},
    {SYS_ioctl, "ioctl", "whether the job's is one", {arg_is32(1, NS_GET_NSTYPE)}},
    {SYS_fchdir, "fchdir", "pivots a template"},
    {SYS_chdir, "chdir", "pivots a template"},
    {SYS_pivot_root, "pivot_root", "pivots a template"},
    {SYS_umount2, "umount2", "drops the old root of a template", {arg_is32(1, MNT_DETACH)}},
    {SYS_umount2, "umount2", "detaches a volume from a running job", {arg_is32(1, MNT_DETACH | UMOUNT_NOFOLLOW)}},
});

} // namespace

std::span<const SyscallRule> worker_calls() {
    return kCalls;
}

} // namespace joblet::worker
