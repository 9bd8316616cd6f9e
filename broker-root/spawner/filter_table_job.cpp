#include "broker-root/spawner/filter_table_job.h"

#include <asm/ioctls.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>

namespace joblet::spawner {

namespace {

constexpr std::string_view kFiles = "opens, reads and writes files and directories";
constexpr std::string_view kAttributes = "reads and sets extended attributes of its own files";
constexpr std::string_view kEvents = "waits for events";
constexpr std::string_view kMemory = "its own memory";
constexpr std::string_view kProcesses = "starts, waits for and ends processes of its own";
constexpr std::string_view kSignals = "handles signals";
constexpr std::string_view kIdentity = "asks who it is; changing needs capabilities that it has not";
constexpr std::string_view kTime = "clocks and timers";
constexpr std::string_view kScheduling = "its own priority, within its limits";
constexpr std::string_view kLimits = "its own limits and use";
constexpr std::string_view kSockets = "talks over sockets that it was able to make";
constexpr std::string_view kIpc = "System V and POSIX objects of its own ipc namespace";
constexpr std::string_view kSandbox = "confines itself further";

// Every CLONE_NEW… that clone(2) knows; bits of the exit signal are not among them.
constexpr std::uint64_t kNamespaceFlags =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
// What unshare(2) may undo: sharing between threads.
constexpr std::uint64_t kUnshareable = CLONE_FS | CLONE_FILES | CLONE_SYSVSEM;

// The low bits of a socket's type are the type, the others SOCK_CLOEXEC and SOCK_NONBLOCK.
constexpr std::uint64_t kSocketType = 0xf;

// linux/personality.h; what the personality is set to may not make memory executable or old bugs come back.
constexpr std::uint32_t kPerLinux = 0;
constexpr std::uint32_t kPerLinux32 = 8;
constexpr std::uint32_t kNoRandomization = 0x0040000;
constexpr std::uint32_t kAsk = 0xffffffff;

constexpr auto kCalls = std::to_array<SyscallRule>({
    {SYS_read, "read", kFiles},
    {SYS_write, "write", kFiles},
    {SYS_open, "open", kFiles},
    {SYS_close, "close", kFiles},
    {SYS_stat, "stat", kFiles},
    {SYS_fstat, "fstat", kFiles},
    {SYS_lstat, "lstat", kFiles},
    {SYS_lseek, "lseek", kFiles},
    {SYS_pread64, "pread64", kFiles},
    {SYS_pwrite64, "pwrite64", kFiles},
    {SYS_readv, "readv", kFiles},
    {SYS_writev, "writev", kFiles},
    {SYS_access, "access", kFiles},
    {SYS_dup, "dup", kFiles},
    {SYS_dup2, "dup2", kFiles},
    {SYS_dup3, "dup3", kFiles},
    {SYS_fcntl, "fcntl", kFiles},
    {SYS_flock, "flock", kFiles},
    {SYS_fsync, "fsync", kFiles},
    {SYS_fdatasync, "fdatasync", kFiles},
    {SYS_truncate, "truncate", kFiles},
    {SYS_ftruncate, "ftruncate", kFiles},
    {SYS_getdents, "getdents", kFiles},
    {SYS_getdents64, "getdents64", kFiles},
    {SYS_getcwd, "getcwd", kFiles},
    {SYS_chdir, "chdir", kFiles},
    {SYS_fchdir, "fchdir", kFiles},
    {SYS_rename, "rename", kFiles},
    {SYS_mkdir, "mkdir", kFiles},
    {SYS_rmdir, "rmdir", kFiles},
    {SYS_creat, "creat", kFiles},
    {SYS_link, "link", kFiles},
    {SYS_unlink, "unlink", kFiles},
    {SYS_symlink, "symlink", kFiles},
    {SYS_readlink, "readlink", kFiles},
    {SYS_chmod, "chmod", kFiles},
    {SYS_fchmod, "fchmod", kFiles},
    {SYS_chown, "chown", kFiles},
    {SYS_fchown, "fchown", kFiles},
    {SYS_lchown, "lchown", kFiles},
    {SYS_umask, "umask", kFiles},
    {SYS_utime, "utime", kFiles},
    {SYS_utimes, "utimes", kFiles},
    {SYS_futimesat, "futimesat", kFiles},
    {SYS_openat, "openat", kFiles},
    {SYS_mkdirat, "mkdirat", kFiles},
    {SYS_fchownat, "fchownat", kFiles},
    {SYS_newfstatat, "newfstatat", kFiles},
    {SYS_unlinkat, "unlinkat", kFiles},
    {SYS_renameat, "renameat", kFiles},
    {SYS_linkat, "linkat", kFiles},
    {SYS_symlinkat, "symlinkat", kFiles},
    {SYS_readlinkat, "readlinkat", kFiles},
    {SYS_fchmodat, "fchmodat", kFiles},
    {SYS_faccessat, "faccessat", kFiles},
    {SYS_utimensat, "utimensat", kFiles},
    {SYS_fallocate, "fallocate", kFiles},
    {SYS_preadv, "preadv", kFiles},
    {SYS_pwritev, "pwritev", kFiles},
    {SYS_preadv2, "preadv2", kFiles},
    {SYS_pwritev2, "pwritev2", kFiles},
    {SYS_renameat2, "renameat2", kFiles},
    {SYS_statx, "statx", kFiles},
    {SYS_openat2, "openat2", kFiles},
    {SYS_faccessat2, "faccessat2", kFiles},
    {SYS_close_range, "close_range", kFiles},
    {SYS_copy_file_range, "copy_file_range", kFiles},
    {SYS_sendfile, "sendfile", kFiles},
    {SYS_splice, "splice", kFiles},
    {SYS_tee, "tee", kFiles},
    {SYS_vmsplice, "vmsplice", kFiles},
    {SYS_sync, "sync", kFiles},
    {SYS_syncfs, "syncfs", kFiles},
    {SYS_sync_file_range, "sync_file_range", kFiles},
    {SYS_readahead, "readahead", kFiles},
    {SYS_fadvise64, "fadvise64", kFiles},
    {SYS_statfs, "statfs", kFiles},
    {SYS_fstatfs, "fstatfs", kFiles},
    {SYS_pipe, "pipe", kFiles},
    {SYS_pipe2, "pipe2", kFiles},
    {SYS_select, "select", kFiles},
    {SYS_pselect6, "pselect6", kFiles},
    {SYS_poll, "poll", kFiles},
    {SYS_ppoll, "ppoll", kFiles},
    {SYS_setxattr, "setxattr", kAttributes},
    {SYS_lsetxattr, "lsetxattr", kAttributes},
    {SYS_fsetxattr, "fsetxattr", kAttributes},
    {SYS_getxattr, "getxattr", kAttributes},
    {SYS_lgetxattr, "lgetxattr", kAttributes},
    {SYS_fgetxattr, "fgetxattr", kAttributes},
    {SYS_listxattr, "listxattr", kAttributes},
    {SYS_llistxattr, "llistxattr", kAttributes},
    {SYS_flistxattr, "flistxattr", kAttributes},
    {SYS_removexattr, "removexattr", kAttributes},
    {SYS_lremovexattr, "lremovexattr", kAttributes},
    {SYS_fremovexattr, "fremovexattr", kAttributes},
    {SYS_epoll_create, "epoll_create", kEvents},
    {SYS_epoll_create1, "epoll_create1", kEvents},
    {SYS_epoll_ctl, "epoll_ctl", kEvents},
    {SYS_epoll_wait, "epoll_wait", kEvents},
    {SYS_epoll_pwait, "epoll_pwait", kEvents},
    {SYS_epoll_pwait2, "epoll_pwait2", kEvents},
    {SYS_eventfd, "eventfd", kEvents},
    {SYS_eventfd2, "eventfd2", kEvents},
    {SYS_signalfd, "signalfd", kEvents},
    {SYS_signalfd4, "signalfd4", kEvents},
    {SYS_timerfd_create, "timerfd_create", kEvents},
    {SYS_timerfd_settime, "timerfd_settime", kEvents},
    {SYS_timerfd_gettime, "timerfd_gettime", kEvents},
    {SYS_inotify_init, "inotify_init", kEvents},
    {SYS_inotify_init1, "inotify_init1", kEvents},
    {SYS_inotify_add_watch, "inotify_add_watch", kEvents},
    {SYS_inotify_rm_watch, "inotify_rm_watch", kEvents},
    {SYS_io_setup, "io_setup", kEvents},
    {SYS_io_destroy, "io_destroy", kEvents},
    {SYS_io_getevents, "io_getevents", kEvents},
    {SYS_io_pgetevents, "io_pgetevents", kEvents},
    {SYS_io_submit, "io_submit", kEvents},
    {SYS_io_cancel, "io_cancel", kEvents},
    {SYS_mmap, "mmap", kMemory},
    {SYS_mprotect, "mprotect", kMemory},
    {SYS_munmap, "munmap", kMemory},
    {SYS_brk, "brk", kMemory},
    {SYS_mremap, "mremap", kMemory},
    {SYS_msync, "msync", kMemory},
    {SYS_mincore, "mincore", kMemory},
    {SYS_madvise, "madvise", kMemory},
    {SYS_mlock, "mlock", kMemory},
    {SYS_mlock2, "mlock2", kMemory},
    {SYS_munlock, "munlock", kMemory},
    {SYS_mlockall, "mlockall", kMemory},
    {SYS_munlockall, "munlockall", kMemory},
    {SYS_memfd_create, "memfd_create", kMemory},
    {SYS_remap_file_pages, "remap_file_pages", kMemory},
    {SYS_pkey_mprotect, "pkey_mprotect", kMemory},
    {SYS_pkey_alloc, "pkey_alloc", kMemory},
    {SYS_pkey_free, "pkey_free", kMemory},
    {SYS_get_mempolicy, "get_mempolicy", kMemory},
    {SYS_set_mempolicy, "set_mempolicy", kMemory},
    {SYS_mbind, "mbind", kMemory},
    {SYS_membarrier, "membarrier", kMemory},
    {SYS_fork, "fork", kProcesses},
    {SYS_vfork, "vfork", kProcesses},
    {SYS_execve, "execve", kProcesses},
    {SYS_execveat, "execveat", kProcesses},
    {SYS_exit, "exit", kProcesses},
    {SYS_exit_group, "exit_group", kProcesses},
    {SYS_wait4, "wait4", kProcesses},
    {SYS_waitid, "waitid", kProcesses},
    {SYS_getpid, "getpid", kProcesses},
    {SYS_getppid, "getppid", kProcesses},
    {SYS_gettid, "gettid", kProcesses},
    {SYS_getpgid, "getpgid", kProcesses},
    {SYS_setpgid, "setpgid", kProcesses},
    {SYS_getpgrp, "getpgrp", kProcesses},
    {SYS_setsid, "setsid", kProcesses},
    {SYS_getsid, "getsid", kProcesses},
    {SYS_set_tid_address, "set_tid_address", kProcesses},
    {SYS_set_robust_list, "set_robust_list", kProcesses},
    {SYS_get_robust_list, "get_robust_list", kProcesses},
    {SYS_rseq, "rseq", kProcesses},
    {SYS_arch_prctl, "arch_prctl", kProcesses},
    {SYS_prctl, "prctl", kProcesses},
    {SYS_futex, "futex", kProcesses},
    {SYS_futex_waitv, "futex_waitv", kProcesses},
    {SYS_pidfd_open, "pidfd_open", kProcesses},
    {SYS_pidfd_send_signal, "pidfd_send_signal", kProcesses},
    {SYS_kill, "kill", kProcesses},
    {SYS_tkill, "tkill", kProcesses},
    {SYS_tgkill, "tgkill", kProcesses},
    {SYS_restart_syscall, "restart_syscall", kProcesses},
    {SYS_rt_sigaction, "rt_sigaction", kSignals},
    {SYS_rt_sigprocmask, "rt_sigprocmask", kSignals},
    {SYS_rt_sigreturn, "rt_sigreturn", kSignals},
    {SYS_rt_sigpending, "rt_sigpending", kSignals},
    {SYS_rt_sigtimedwait, "rt_sigtimedwait", kSignals},
    {SYS_rt_sigqueueinfo, "rt_sigqueueinfo", kSignals},
    {SYS_rt_tgsigqueueinfo, "rt_tgsigqueueinfo", kSignals},
    {SYS_rt_sigsuspend, "rt_sigsuspend", kSignals},
    {SYS_sigaltstack, "sigaltstack", kSignals},
    {SYS_pause, "pause", kSignals},
    {SYS_getuid, "getuid", kIdentity},
    {SYS_getgid, "getgid", kIdentity},
    {SYS_geteuid, "geteuid", kIdentity},
    {SYS_getegid, "getegid", kIdentity},
    {SYS_getresuid, "getresuid", kIdentity},
    {SYS_getresgid, "getresgid", kIdentity},
    {SYS_getgroups, "getgroups", kIdentity},
    {SYS_setuid, "setuid", kIdentity},
    {SYS_setgid, "setgid", kIdentity},
    {SYS_setreuid, "setreuid", kIdentity},
    {SYS_setregid, "setregid", kIdentity},
    {SYS_setresuid, "setresuid", kIdentity},
    {SYS_setresgid, "setresgid", kIdentity},
    {SYS_setfsuid, "setfsuid", kIdentity},
    {SYS_setfsgid, "setfsgid", kIdentity},
    {SYS_setgroups, "setgroups", kIdentity},
    {SYS_capget, "capget", kIdentity},
    {SYS_capset, "capset", kIdentity},
    {SYS_gettimeofday, "gettimeofday", kTime},
    {SYS_time, "time", kTime},
    {SYS_clock_gettime, "clock_gettime", kTime},
    {SYS_clock_getres, "clock_getres", kTime},
    {SYS_clock_nanosleep, "clock_nanosleep", kTime},
    {SYS_nanosleep, "nanosleep", kTime},
    {SYS_getitimer, "getitimer", kTime},
    {SYS_setitimer, "setitimer", kTime},
    {SYS_alarm, "alarm", kTime},
    {SYS_timer_create, "timer_create", kTime},
    {SYS_timer_settime, "timer_settime", kTime},
    {SYS_timer_gettime, "timer_gettime", kTime},
    {SYS_timer_getoverrun, "timer_getoverrun", kTime},
    {SYS_timer_delete, "timer_delete", kTime},
    {SYS_times, "times", kTime},
    {SYS_sched_yield, "sched_yield", kScheduling},
    {SYS_sched_setparam, "sched_setparam", kScheduling},
    {SYS_sched_getparam, "sched_getparam", kScheduling},
    {SYS_sched_setscheduler, "sched_setscheduler", kScheduling},
    {SYS_sched_getscheduler, "sched_getscheduler", kScheduling},
    {SYS_sched_get_priority_max, "sched_get_priority_max", kScheduling},
    {SYS_sched_get_priority_min, "sched_get_priority_min", kScheduling},
    {SYS_sched_rr_get_interval, "sched_rr_get_interval", kScheduling},
    {SYS_sched_setaffinity, "sched_setaffinity", kScheduling},
    {SYS_sched_getaffinity, "sched_getaffinity", kScheduling},
    {SYS_sched_setattr, "sched_setattr", kScheduling},
    {SYS_sched_getattr, "sched_getattr", kScheduling},
    {SYS_getpriority, "getpriority", kScheduling},
    {SYS_setpriority, "setpriority", kScheduling},
    {SYS_ioprio_get, "ioprio_get", kScheduling},
    {SYS_ioprio_set, "ioprio_set", kScheduling},
    {SYS_getcpu, "getcpu", kScheduling},
    {SYS_getrlimit, "getrlimit", kLimits},
    {SYS_setrlimit, "setrlimit", kLimits},
    {SYS_getrusage, "getrusage", kLimits},
    {SYS_sysinfo, "sysinfo", kLimits},
    {SYS_uname, "uname", kLimits},
    {SYS_getrandom, "getrandom", kLimits},
    {SYS_connect, "connect", kSockets},
    {SYS_accept, "accept", kSockets},
    {SYS_accept4, "accept4", kSockets},
    {SYS_sendto, "sendto", kSockets},
    {SYS_recvfrom, "recvfrom", kSockets},
    {SYS_sendmsg, "sendmsg", kSockets},
    {SYS_recvmsg, "recvmsg", kSockets},
    {SYS_sendmmsg, "sendmmsg", kSockets},
    {SYS_recvmmsg, "recvmmsg", kSockets},
    {SYS_shutdown, "shutdown", kSockets},
    {SYS_bind, "bind", kSockets},
    {SYS_listen, "listen", kSockets},
    {SYS_getsockname, "getsockname", kSockets},
    {SYS_getpeername, "getpeername", kSockets},
    {SYS_setsockopt, "setsockopt", kSockets},
    {SYS_getsockopt, "getsockopt", kSockets},
    {SYS_shmget, "shmget", kIpc},
    {SYS_shmat, "shmat", kIpc},
    {SYS_shmdt, "shmdt", kIpc},
    {SYS_shmctl, "shmctl", kIpc},
    {SYS_semget, "semget", kIpc},
    {SYS_semop, "semop", kIpc},
    {SYS_semtimedop, "semtimedop", kIpc},
    {SYS_semctl, "semctl", kIpc},
    {SYS_msgget, "msgget", kIpc},
    {SYS_msgsnd, "msgsnd", kIpc},
    {SYS_msgrcv, "msgrcv", kIpc},
    {SYS_msgctl, "msgctl", kIpc},
    {SYS_mq_open, "mq_open", kIpc},
    {SYS_mq_unlink, "mq_unlink", kIpc},
    {SYS_mq_timedsend, "mq_timedsend", kIpc},
    {SYS_mq_timedreceive, "mq_timedreceive", kIpc},
    {SYS_mq_notify, "mq_notify", kIpc},
    {SYS_mq_getsetattr, "mq_getsetattr", kIpc},
    {SYS_seccomp, "seccomp", kSandbox},
    {SYS_landlock_create_ruleset, "landlock_create_ruleset", kSandbox},
    {SYS_landlock_add_rule, "landlock_add_rule", kSandbox},
    {SYS_landlock_restrict_self, "landlock_restrict_self", kSandbox},
    // Younger than the headers; numbers are the same on every architecture
    {451, "cachestat", kFiles},
    {452, "fchmodat2", kFiles},
    {453, "map_shadow_stack", kMemory},
    {454, "futex_wake", kProcesses},
    {455, "futex_wait", kProcesses},
    {456, "futex_requeue", kProcesses},
    {462, "mseal", kMemory},
    {463, "setxattrat", kAttributes},
    {464, "getxattrat", kAttributes},
    {465, "listxattrat", kAttributes},
    {466, "removexattrat", kAttributes},
    {468, "file_getattr", kAttributes},
    // Controls of terminals, files and sockets; see refused_controls for those that no job may use
    {SYS_ioctl, "ioctl", "terminals (the stage makes the job's, a job its own), file attributes and clones, interfaces"},
    {SYS_clone, "clone", "processes and threads, in the namespaces it is in", {arg_has(0, kNamespaceFlags, 0)}},
    {SYS_unshare, "unshare", "a thread's own working directory or descriptors", {arg_has(0, ~kUnshareable, 0)}},
    {SYS_prlimit64, "prlimit64", "its own limits, not those of pid 1", {arg_is32(0, 0)}},
    {SYS_socketpair, "socketpair", "talks to its children", {arg_is32(0, AF_UNIX)}},
    {SYS_socket, "socket", "talks within the job", {arg_is32(0, AF_UNIX)}},
    {SYS_socket,
     "socket",
     "TCP over its own loopback, or the host's network where it has that",
     {arg_is32(0, AF_INET), arg_has(1, kSocketType, SOCK_STREAM)}},
    {SYS_socket, "socket", "UDP likewise", {arg_is32(0, AF_INET), arg_has(1, kSocketType, SOCK_DGRAM)}},
    {SYS_socket, "socket", "TCP likewise", {arg_is32(0, AF_INET6), arg_has(1, kSocketType, SOCK_STREAM)}},
    {SYS_socket, "socket", "UDP likewise", {arg_is32(0, AF_INET6), arg_has(1, kSocketType, SOCK_DGRAM)}},
    {SYS_socket, "socket", "lists its interfaces (getifaddrs)", {arg_is32(0, AF_NETLINK), arg_is32(2, NETLINK_ROUTE)}},
    {SYS_mknod, "mknod", "mkfifo", {arg_has(1, S_IFMT, S_IFIFO)}},
    {SYS_mknod, "mknod", "an empty file", {arg_has(1, S_IFMT, S_IFREG)}},
    {SYS_mknod, "mknod", "a socket's name", {arg_has(1, S_IFMT, S_IFSOCK)}},
    {SYS_mknodat, "mknodat", "mkfifo", {arg_has(2, S_IFMT, S_IFIFO)}},
    {SYS_mknodat, "mknodat", "an empty file", {arg_has(2, S_IFMT, S_IFREG)}},
    {SYS_mknodat, "mknodat", "a socket's name", {arg_has(2, S_IFMT, S_IFSOCK)}},
    {SYS_personality, "personality", "asks", {arg_is32(0, kAsk)}},
    {SYS_personality, "personality", "the default", {arg_is32(0, kPerLinux)}},
    {SYS_personality, "personality", "looks like a 32-bit host to configure scripts", {arg_is32(0, kPerLinux32)}},
    {SYS_personality, "personality", "fixed addresses, for debuggers and sanitizers", {arg_is32(0, kNoRandomization)}},
});

constexpr auto kRefusals = std::to_array<SyscallRefusal>({
    {SYS_clone3, "clone3", ENOSYS, "its flags cannot be seen; the C library falls back to clone"},
});

// ---------------------------------------------------------------- ioctl

// btrfs ioctls have type 0x94. Any of them could be a way around a qgroup (a subvolume made inside a volume is); the three
// that clone data within one file system stay, they share these numbers with every other file system.
constexpr std::uint64_t kBtrfsType = 0x9400;
constexpr std::uint64_t kTypeMask = 0xff00;
constexpr unsigned kNumbers = 256;
constexpr bool is_clone(unsigned number) {
    return number == (FICLONE & 0xff) || number == (FICLONERANGE & 0xff) || number == (FIDEDUPERANGE & 0xff);
}
static_assert((FICLONE & kTypeMask) == kBtrfsType && (FICLONERANGE & kTypeMask) == kBtrfsType && (FIDEDUPERANGE & kTypeMask) == kBtrfsType);

// Calls visit(mask, value) for each of the aligned blocks that together are every number but the clones.
constexpr void visit_blocks(unsigned first, unsigned size, auto&& visit) {
    unsigned clones = 0;
    for (unsigned number = first; number < first + size; ++number) {
        clones += is_clone(number) ? 1 : 0;
    }
    if (clones == 0) {
        visit(kNumbers - size, first);
    } else if (size > 1) {
        visit_blocks(first, size / 2, visit);
        visit_blocks(first + size / 2, size / 2, visit);
    }
}

constexpr std::size_t kBtrfsBlocks = [] {
    std::size_t count = 0;
    visit_blocks(0, kNumbers, [&count](unsigned, unsigned) { ++count; });
    return count;
}();

constexpr SyscallRefusal refuse_ioctl(std::uint32_t command, std::string_view reason) {
    return {SYS_ioctl, "ioctl", EPERM, reason, {arg_is32(1, command)}};
}
constexpr std::array kSingleControls = {
    refuse_ioctl(TIOCSTI, "types into a terminal, as if its user did"),
    refuse_ioctl(TIOCLINUX, "pastes into a virtual console"),
    refuse_ioctl(TIOCSETD, "loads line disciplines, old and rarely tested code"),
    refuse_ioctl(FS_IOC_FSSETXATTR, "changes a file's project, and so whose quota it counts against"),
};

constexpr auto kControls = [] {
    std::array<SyscallRefusal, kSingleControls.size() + kBtrfsBlocks> rows{};
    std::size_t next = 0;
    for (const auto& row : kSingleControls) {
        rows[next++] = row;
    }
    visit_blocks(0, kNumbers, [&](std::uint64_t mask, std::uint64_t value) {
        rows[next++] = {SYS_ioctl,
                        "ioctl",
                        EPERM,
                        "btrfs: subvolumes and their kin escape a volume's limit",
                        {arg_has(1, kTypeMask | mask, kBtrfsType | value)}};
    });
    return rows;
}();

} // namespace

std::span<const SyscallRule> job_calls() {
    return kCalls;
}

std::span<const SyscallRefusal> job_refusals() {
    return kRefusals;
}

std::span<const SyscallRefusal> refused_controls() {
    return kControls;
}

} // namespace joblet::spawner
