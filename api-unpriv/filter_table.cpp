#include "api-unpriv/filter_table.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <array>
#include <cerrno>

namespace joblet::api {

namespace {

constexpr std::uint32_t kFutexFlags = FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME;

// What malloc, the threads and the exit of a program need
constexpr SyscallRule kCalls[] = {
    {__NR_mmap, "mmap", "memory of malloc; never executable", {arg_has(2, PROT_EXEC, 0)}},
    {__NR_mprotect, "mprotect", "growing a heap of malloc; never executable", {arg_has(2, PROT_EXEC, 0)}},
    {__NR_munmap, "munmap", "free", {}},
    {__NR_mremap, "mremap", "realloc of large blocks", {}},
    {__NR_madvise, "madvise", "free gives memory back", {}},
    {__NR_brk, "brk", "malloc", {}},
    {__NR_futex, "futex", "wait for the database's thread", {arg_has(1, 0xffffffffU & ~kFutexFlags, FUTEX_WAIT)}},
    {__NR_futex, "futex", "wake the database's thread", {arg_has(1, 0xffffffffU & ~kFutexFlags, FUTEX_WAKE)}},
    {__NR_futex, "futex", "wait with a timeout", {arg_has(1, 0xffffffffU & ~kFutexFlags, FUTEX_WAIT_BITSET)}},
    {__NR_exit, "exit", "end of the database's thread", {}},
    {__NR_exit_group, "exit_group", "end", {}},
    {__NR_setitimer, "setitimer", "interrupts what is closed and makes it wait", {arg_is32(0, ITIMER_REAL)}},
    {__NR_rt_sigreturn, "rt_sigreturn", "return from a signal handler of the event loop", {}},
    {__NR_rt_sigprocmask, "rt_sigprocmask", "the event loop, abort, and the end of a thread", {}},
    {__NR_getpid, "getpid", "lines of the log, abort, and locks of the database", {}},
    {__NR_gettid, "gettid", "lines of the log, and abort", {}},
    {__NR_tgkill, "tgkill", "abort ends this process; without capabilities it reaches nobody else's", {}},
    {__NR_clock_gettime, "clock_gettime", "time, where the vDSO cannot tell", {}},
    {__NR_gettimeofday, "gettimeofday", "time, where the vDSO cannot tell", {}},
    {__NR_clock_nanosleep, "clock_nanosleep", "the database retries a lock", {}},
    {__NR_getrandom, "getrandom", "seeds of hash tables and of the database", {}},
    {__NR_restart_syscall, "restart_syscall", "a wait goes on after the process was stopped", {}},
    {__NR_rseq, "rseq", "registered by the C library in the database's thread", {}},
    {__NR_set_robust_list, "set_robust_list", "by the C library in the database's thread", {}},

    // The event loop
    {__NR_epoll_wait, "epoll_wait", "the event loop waits", {}},
    {__NR_epoll_pwait, "epoll_pwait", "the event loop waits", {}},
    {__NR_epoll_ctl, "epoll_ctl", "clients come and go", {}},
    {__NR_signalfd4, "signalfd4", "the event loop's set of signals changes", {}},

    // Clients and the broker: sockets that the broker gave
    {__NR_read, "read", "clients, the event loop's wake-up, pages of the database", {}},
    {__NR_readv, "readv", "clients", {}},
    {__NR_write, "write", "clients, the log", {}},
    {__NR_writev, "writev", "clients, the log", {}},
    {__NR_recvmsg, "recvmsg", "datagrams of the broker; what clients say, once it is seen that no descriptor comes with it", {}},
    {__NR_sendmsg, "sendmsg", "datagrams to the broker, answers to clients", {}},
    {__NR_shutdown, "shutdown", "end of a connection", {}},
    {__NR_recvfrom, "recvfrom", "clients", {}},
    {__NR_getsockopt, "getsockopt", "buffer of a client's socket", {arg_is32(1, SOL_SOCKET)}},
    {__NR_setsockopt, "setsockopt", "urgent data of a client stays in line", {arg_is32(1, SOL_SOCKET), arg_is32(2, SO_OOBINLINE)}},
    {__NR_close, "close", "descriptors that are done with", {}},
    {__NR_fcntl, "fcntl", "a client's socket, for its reading side", {arg_is32(1, F_DUPFD_CLOEXEC)}},
    {__NR_fcntl, "fcntl", "non-blocking sockets", {arg_is32(1, F_GETFL)}},
    {__NR_fcntl, "fcntl", "non-blocking sockets", {arg_is32(1, F_SETFL)}},
    {__NR_fcntl, "fcntl", "close-on-exec of sockets", {arg_is32(1, F_GETFD)}},
    {__NR_fcntl, "fcntl", "close-on-exec of sockets", {arg_is32(1, F_SETFD)}},
    {__NR_fcntl, "fcntl", "lock of the database", {arg_is32(1, F_SETLK)}},
    {__NR_fcntl, "fcntl", "lock of the database", {arg_is32(1, F_GETLK)}},
    {__NR_ioctl, "ioctl", "non-blocking sockets", {arg_is32(1, 0x5421 /* FIONBIO */)}},
    {__NR_ioctl, "ioctl", "close-on-exec of sockets", {arg_is32(1, 0x5451 /* FIOCLEX */)}},

    // The database, whose files are open
    {__NR_pread64, "pread64", "pages of the database", {}},
    {__NR_pwrite64, "pwrite64", "pages of the database; a job's command, environment and directory", {}},
    {__NR_lseek, "lseek", "the database on old file systems", {}},
    {__NR_fdatasync, "fdatasync", "commit", {}},
    {__NR_fsync, "fsync", "commit", {}},
    {__NR_ftruncate, "ftruncate", "the log of the database shrinks", {}},
    {__NR_fstat, "fstat", "size of the database's files", {}},
    {__NR_newfstatat, "newfstatat", "size of the database's files, and whether somebody moved them", {}},
    {__NR_stat, "stat", "whether somebody moved the database", {}},
    {__NR_geteuid, "geteuid", "the database asks whether it could give files away: it cannot", {}},
};

} // namespace

std::span<const SyscallRule> allowed_calls() {
    return kCalls;
}

} // namespace joblet::api
