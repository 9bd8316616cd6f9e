#include "broker-root/kernel/process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace joblet::kernel {

static_assert(kMountNamespace == CLONE_NEWNS && kCgroupNamespace == CLONE_NEWCGROUP && kUserNamespace == CLONE_NEWUSER);
static_assert(kJobNamespaces == (CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET));
static_assert(kJobNamespacesButNet == (kJobNamespaces & ~std::uint64_t{CLONE_NEWNET}));

namespace {

constexpr uid_t kNobody = 65534; // mapped like every id of the slot

Result<void> checked(long result) {
    if (result < 0) {
        return last_errno();
    }
    return {};
}

} // namespace

Result<Cloned> clone_process(Namespaces namespaces, int cgroup) {
    int pidfd = -1;
    clone_args arguments{};
    arguments.flags = namespaces | CLONE_PIDFD;
    arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    if (cgroup >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = static_cast<std::uint64_t>(cgroup);
    }
    const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0) {
        return last_errno();
    }
    if (pid == 0) {
        return Cloned{};
    }
    return Cloned{static_cast<pid_t>(pid), Fd(pidfd)};
}

Result<void> unshare_namespace(Namespaces what) {
    return checked(::unshare(static_cast<int>(what)));
}

Result<void> signal_process(int pidfd, int signal) {
    return checked(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

// ---------------------------------------------------------------- user namespaces

namespace {

using ProcPath = std::array<char, 32>;

ProcPath path_of(pid_t pid, const char* file) {
    ProcPath path{};
    std::snprintf(path.data(), path.size(), "%d/%s", pid, file);
    return path;
}

Result<void> write_map(int proc, pid_t pid, const char* file, const IdMap& map) {
    std::array<char, 48> line{};
    const int size = std::snprintf(line.data(), line.size(), "%u %u %u\n", map.inside, map.outside, map.count);
    const Fd out(::openat(proc, path_of(pid, file).data(), O_WRONLY | O_CLOEXEC));
    if (!out.valid()) {
        return last_errno();
    }
    return checked(::write(out.get(), line.data(), static_cast<std::size_t>(size)));
}

Result<Fd> map_and_open(int proc, pid_t pid, const IdMap& map) {
    for (const char* file : {"uid_map", "gid_map"}) {
        if (const auto written = write_map(proc, pid, file, map); !written) {
            return std::unexpected(written.error());
        }
    }
    Fd opened(::openat(proc, path_of(pid, "ns/user").data(), O_RDONLY | O_CLOEXEC));
    if (!opened.valid()) {
        return last_errno();
    }
    return opened;
}

// Carries a namespace until it is killed; goes with its parent, so that none is left when that one is killed in between.
[[noreturn]] void wait_to_be_killed(pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    while (::getppid() == parent) {
        ::pause();
    }
    ::_exit(0);
}

} // namespace

Result<Fd> make_user_namespace(int proc, const IdMap& map) {
    // A process is born as dumpable as its parent is, and ns/user of one that is not cannot be opened without SYS_PTRACE.
    if (const auto set = set_dumpable(true); !set) {
        return std::unexpected(set.error());
    }
    const pid_t self = ::getpid();
    const auto child = clone_process(kUserNamespace, -1);
    if (child && child->pid == 0) {
        wait_to_be_killed(self);
    }
    const auto restored = set_dumpable(false);
    if (!child) {
        return std::unexpected(child.error());
    }
    auto opened = map_and_open(proc, child->pid, map);
    // Still there to be killed: so the pid was its own all the time, and what was opened belongs to it
    const auto killed = signal_process(child->pidfd.get(), SIGKILL);
    if (!killed || !restored) {
        return std::unexpected(killed ? restored.error() : killed.error());
    }
    return opened;
}

Result<void> join_user_namespace(int user_namespace) {
    return checked(::setns(user_namespace, CLONE_NEWUSER));
}

// ---------------------------------------------------------------- ids

Result<void> become_namespace_root() {
    return become_inner_user(0, 0);
}

Result<void> become_inner_user(std::uint32_t uid, std::uint32_t gid) {
    if (::setgroups(0, nullptr) < 0 || ::setresgid(gid, gid, gid) < 0 || ::setresuid(uid, uid, uid) < 0) {
        return last_errno();
    }
    std::array<uid_t, 3> uids{~uid, ~uid, ~uid};
    std::array<gid_t, 3> gids{~gid, ~gid, ~gid};
    if (::getresuid(&uids[0], &uids[1], &uids[2]) < 0 || ::getresgid(&gids[0], &gids[1], &gids[2]) < 0) {
        return last_errno();
    }
    if (uids != std::array{uid, uid, uid} || gids != std::array{gid, gid, gid} || ::getgroups(0, nullptr) != 0) {
        return std::unexpected(EPERM);
    }
    return {};
}

Result<void> become_job_supervisor(std::uint32_t job_uid) {
    const uid_t own = job_uid == kNobody ? kNobody - 1 : kNobody;
    return checked(::setresuid(job_uid, own, own));
}

// ---------------------------------------------------------------- signals

Result<void> reset_signals() {
    for (int signal = 1; signal < NSIG; ++signal) {
        // Fails for SIGKILL, SIGSTOP and the two that the C library keeps for itself; those cannot be set by anybody here
        std::signal(signal, SIG_DFL);
    }
    return unblock_signals();
}

Result<void> unblock_signals() {
    sigset_t none;
    ::sigemptyset(&none);
    return checked(::sigprocmask(SIG_SETMASK, &none, nullptr));
}

Result<void> block_signal(int signal) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, signal);
    return checked(::sigprocmask(SIG_BLOCK, &set, nullptr));
}

namespace {

Result<void> handle_signal(int signal, sighandler_t how) {
    if (std::signal(signal, how) == SIG_ERR) {
        return last_errno();
    }
    return {};
}

} // namespace

Result<void> ignore_signal(int signal) {
    return handle_signal(signal, SIG_IGN);
}

Result<void> default_signal(int signal) {
    return handle_signal(signal, SIG_DFL);
}

// ---------------------------------------------------------------- descriptors, directory, names

Result<void> place_descriptors(std::span<const int> from) {
    constexpr std::size_t kMost = 16;
    if (from.size() > kMost) {
        return std::unexpected(E2BIG);
    }
    const int count = static_cast<int>(from.size());
    // First out of the way of all places, because a source may be where another one is to go
    std::array<int, kMost> aside{};
    for (std::size_t i = 0; i < from.size(); ++i) {
        aside[i] = ::fcntl(from[i], F_DUPFD_CLOEXEC, count);
        if (aside[i] < 0) {
            return last_errno();
        }
    }
    for (int place = 0; place < count; ++place) {
        if (::dup3(aside[static_cast<std::size_t>(place)], place, place <= STDERR_FILENO ? 0 : O_CLOEXEC) < 0) {
            return last_errno();
        }
    }
    return checked(::syscall(SYS_close_range, static_cast<unsigned>(count), ~0U, 0U));
}

Result<void> enter_root_directory() {
    if (::chdir("/") < 0) {
        return last_errno();
    }
    std::array<char, 64> path{};
    if (::syscall(SYS_getcwd, path.data(), path.size()) < 0) {
        return last_errno();
    }
    if (std::strcmp(path.data(), "/") != 0) {
        return std::unexpected(EXDEV);
    }
    return {};
}

Result<void> set_host_name(const char* name) {
    return checked(::sethostname(name, std::strlen(name)));
}

Result<void> set_dumpable(bool dumpable) {
    return checked(::prctl(PR_SET_DUMPABLE, dumpable ? 1 : 0, 0, 0, 0));
}

void set_process_name(const char* name) {
    ::prctl(PR_SET_NAME, name, 0, 0, 0);
}

} // namespace joblet::kernel
