#include "cli/filter_table.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace joblet::cli {
namespace {

constexpr SyscallRule kTable[] = {
    // ---- the daemon
    {__NR_socket, "socket", "the API's socket, again when a job ends without a record", {arg_is32(0, AF_UNIX)}},
    {__NR_connect, "connect", "likewise"},
    {__NR_setsockopt, "setsockopt", "how long connect may wait", {arg_is32(1, SOL_SOCKET)}},
    {__NR_sendmsg, "sendmsg", "calls, with descriptors; signals for a job"},
    {__NR_recvmsg, "recvmsg", "answers; a job's exit record"},
    {__NR_write, "write", "calls; output; wake the event loop"},
    {__NR_writev, "writev", "calls of several segments"},
    {__NR_read, "read", "answers; signals to pass on"},
    {__NR_ioctl, "ioctl", "a connection that does not block", {arg_is32(1, FIONBIO)}},
    {__NR_shutdown, "shutdown", "the end of a connection"},
    {__NR_close, "close", "what is no longer needed"},
    // ---- the event loop
    {__NR_epoll_create1, "epoll_create1", "its set"},
    {__NR_epoll_ctl, "epoll_ctl", "watch the connection"},
    {__NR_epoll_wait, "epoll_wait", "wait for an answer"},
    {__NR_epoll_pwait, "epoll_pwait", "the C library's epoll_wait on some machines"},
    {__NR_eventfd2, "eventfd2", "wakes it"},
    {__NR_signalfd4, "signalfd4", "signals, for the loop and for a job"},
    {__NR_clock_gettime, "clock_gettime", "time limits, where the vDSO does not serve"},
    {__NR_restart_syscall, "restart_syscall", "the kernel's own, after a stop and continue"},
    // ---- a job in the foreground
    {__NR_poll, "poll", "wait for its end, and for signals"},
    {__NR_statx, "statx", "what stdin, stdout and stderr are"},
    {__NR_fcntl, "fcntl", "likewise", {arg_is32(1, F_GETFL)}},
    {__NR_fcntl, "fcntl", "a job's control socket outlives the connection", {arg_is32(1, F_DUPFD_CLOEXEC)}},
    {__NR_rt_sigaction, "rt_sigaction", "which signals are ignored; SIGPIPE"},
    {__NR_rt_sigprocmask, "rt_sigprocmask", "hold signals for the signalfd; abort(3)"},
    {__NR_rt_sigreturn, "rt_sigreturn", "return from a signal handler"},
    {__NR_ioctl, "ioctl", "width of the terminal", {arg_is32(1, TIOCGWINSZ)}},
    {__NR_fstatfs, "fstatfs", "whether a FIFO is an anonymous pipe"},
    {__NR_fchmod, "fchmod", "a job may open its pipes again, as /dev/stdout", {arg_is32(1, 0666)}},
    // ---- a job with a terminal
    {__NR_ioctl, "ioctl", "the caller's terminal, as it was", {arg_is32(1, TCGETS)}},
    {__NR_ioctl, "ioctl", "make it raw, and restore it", {arg_is32(1, TCSETS)}},
    {__NR_ioctl, "ioctl", "the job's terminal is as large as the caller's", {arg_is32(1, TIOCSWINSZ)}},
    {__NR_fcntl, "fcntl", "the job's terminal does not block", {arg_is32(1, F_SETFL)}},
    // ---- the log of a job
    {__NR_pread64, "pread64", "its two files"},
    // ---- memory, never executable
    {__NR_brk, "brk", "heap"},
    {__NR_mmap, "mmap", "heap", {arg_has(2, PROT_EXEC, 0)}},
    {__NR_mprotect, "mprotect", "heap", {arg_has(2, PROT_EXEC, 0)}},
    {__NR_mremap, "mremap", "heap"},
    {__NR_munmap, "munmap", "heap"},
    {__NR_madvise, "madvise", "heap"},
    {__NR_futex, "futex", "the C library's locks, never contended"},
    // ---- the end
    {__NR_getpid, "getpid", "abort(3)"},
    {__NR_gettid, "gettid", "abort(3)"},
    {__NR_tgkill, "tgkill", "abort(3)"},
    {__NR_exit_group, "exit_group", "the end"},
};

} // namespace

std::span<const SyscallRule> filter_table() {
    return kTable;
}

} // namespace joblet::cli
