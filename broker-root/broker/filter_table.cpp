#include "broker-root/broker/filter_table.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

namespace joblet::broker {

namespace {

constexpr std::uint32_t kOpenHowSize = 24; // struct open_how of openat2(2), version 0

constexpr SyscallRule kTable[] = {
    // ---- the loop
    {__NR_epoll_create1, "epoll_create1", "one set, made when it begins to serve"},
    {__NR_epoll_ctl, "epoll_ctl", "watch sockets, pidfds and cgroup.events"},
    {__NR_epoll_wait, "epoll_wait", "wait for any of them"},
    {__NR_epoll_pwait, "epoll_pwait", "the C library's epoll_wait on some machines"},
    {__NR_clock_gettime, "clock_gettime", "deadlines and times in records, where the vDSO does not serve"},
    {__NR_restart_syscall, "restart_syscall", "the kernel's own, after a stop and continue"},
    {__NR_setitimer, "setitimer", "interrupts what is closed and makes it wait", {arg_is32(0, ITIMER_REAL)}},
    {__NR_rt_sigreturn, "rt_sigreturn", "return from that interruption"},
    // ---- talking
    {__NR_recvmsg, "recvmsg", "requests, answers, reports"},
    {__NR_sendmsg, "sendmsg", "orders, replies, news; no byte, to see whether a client is still there"},
    {__NR_accept4, "accept4", "clients of api.sock"},
    {__NR_getsockopt, "getsockopt", "SO_PEERCRED of a client", {arg_is32(1, SOL_SOCKET)}},
    {__NR_shutdown, "shutdown", "a connection whose API is gone"},
    {__NR_socketpair, "socketpair", "control socket and status channel of a job", {arg_is32(0, AF_UNIX)}},
    {__NR_close, "close", "what is no longer needed"},
    {__NR_fcntl, "fcntl", "memory for a job's spec keeps its size", {arg_is32(1, F_ADD_SEALS)}},
    {__NR_fcntl, "fcntl", "keep one, send one", {arg_is32(1, F_DUPFD_CLOEXEC)}},
    {__NR_ioctl, "ioctl", "is it a mount namespace that the stage sends", {arg_is32(1, NS_GET_NSTYPE)}},
    {__NR_memfd_create, "memfd_create", "memory for a job's spec; output of a system job"},
    {__NR_lseek, "lseek", "lists the groups of jobs from their start"},
    {__NR_getrandom, "getrandom", "ids of volumes and jobs"},
    // ---- cgroups, all below the one descriptor it was started with
    {__NR_openat2, "openat2", "a group, its cgroup.events, cgroup.kill and limits", {arg_is(3, kOpenHowSize)}},
    {__NR_mkdirat, "mkdirat", "a group for a job"},
    {__NR_unlinkat, "unlinkat", "an empty group", {arg_is32(2, AT_REMOVEDIR)}},
    {__NR_getdents64, "getdents64", "lists the groups of jobs, for a comparison with the jobs there are"},
    {__NR_pread64, "pread64", "cgroup.events and limits; what a failed system job said"},
    {__NR_pwrite64, "pwrite64", "a system job's spec"},
    {__NR_write, "write", "cgroup.kill and limits; the log; the audit log"},
    {__NR_writev, "writev", "the log, from the C library"},
    // ---- the audit log, in the one directory that was opened at start
    {__NR_fallocate, "fallocate", "room for records to come", {arg_is32(1, FALLOC_FL_KEEP_SIZE)}},
    {__NR_ftruncate, "ftruncate", "take back the part of a record that had no room; size of memory for a job's spec"},
    {__NR_renameat, "renameat", "put a long log aside"},
    // ---- memory, never executable
    {__NR_brk, "brk", "heap"},
    {__NR_mmap, "mmap", "heap", {arg_has(2, PROT_EXEC, 0)}},
    {__NR_mprotect, "mprotect", "heap", {arg_has(2, PROT_EXEC, 0)}},
    {__NR_mremap, "mremap", "heap"},
    {__NR_munmap, "munmap", "heap"},
    {__NR_madvise, "madvise", "heap"},
    {__NR_futex, "futex", "the C library's locks, never contended"},
    // ---- the end
    {__NR_getpid, "getpid", "the log, and abort(3)"},
    {__NR_gettid, "gettid", "the log, and abort(3)"},
    {__NR_rt_sigprocmask, "rt_sigprocmask", "abort(3)"},
    {__NR_tgkill, "tgkill", "abort(3)"},
    {__NR_exit_group, "exit_group", "the end"},
};

// Its power is to close.
constexpr SyscallRule kCloserTable[] = {
    {__NR_recvmsg, "recvmsg", "what is to be closed; what is in the queue of a client's socket"},
    {__NR_shutdown, "shutdown", "nothing more comes into such a queue"},
    {__NR_close, "close", "the closing"},
    {__NR_setitimer, "setitimer", "interrupts what is closed and makes it wait, where that can be", {arg_is32(0, ITIMER_REAL)}},
    {__NR_rt_sigreturn, "rt_sigreturn", "return from that interruption"},
    {__NR_restart_syscall, "restart_syscall", "the kernel's own, after a stop and continue"},
    {__NR_exit_group, "exit_group", "ends with the broker"},
};

} // namespace

std::span<const SyscallRule> filter_table() {
    return kTable;
}

std::span<const SyscallRule> closer_calls() {
    return kCloserTable;
}

} // namespace joblet::broker
