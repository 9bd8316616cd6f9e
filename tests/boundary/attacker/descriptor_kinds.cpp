#include "tests/boundary/attacker/descriptor_kinds.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include <fmt/format.h>

#include "shared/datagram.h"
#include "shared/job_spec.h"
#include "tests/system/process.h"

namespace joblet::testing {

namespace {

constexpr int kAllSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

Fd path(const std::string& name, int flags) {
    return Fd(::open(name.c_str(), flags | O_CLOEXEC | O_NONBLOCK));
}

// With `size` bytes, then sealed so.
Fd memory(std::size_t size, int seals, unsigned flags = MFD_ALLOW_SEALING) {
    Fd fd(::memfd_create("attacker", flags | MFD_CLOEXEC));
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0 || (seals != 0 && ::fcntl(fd.get(), F_ADD_SEALS, seals) != 0)) {
        return {};
    }
    return fd;
}

// The same memory, opened in another way.
Fd opened_again(const Fd& fd, int flags) {
    return path(fmt::format("/proc/self/fd/{}", fd.get()), flags);
}

class Kinds {
  public:
    void add(const char* name, Fd fd) {
        if (fd.valid()) {
            list.push_back({name, std::move(fd), {}});
        }
    }
    void add_pair(const char* name, int domain, int type) {
        std::array<int, 2> ends{-1, -1};
        if (::socketpair(domain, type | SOCK_CLOEXEC, 0, ends.data()) != 0) {
            return;
        }
        list.push_back({name, Fd(ends[0]), {}});
        list.back().with.emplace_back(ends[1]);
    }

    std::vector<DescriptorKind> list;
};

void add_files(Kinds& out, const Canary& canary) {
    const auto& here = canary.directory();
    out.add("a directory", path(here, O_RDONLY | O_DIRECTORY));
    out.add("the root directory", path("/", O_RDONLY | O_DIRECTORY));
    out.add("a directory, O_PATH", path(here, O_PATH | O_DIRECTORY));
    out.add("a file", path(here + "/secret", O_RDONLY));
    out.add("a file, to write", path(here + "/open/writable", O_RDWR));
    out.add("a file, O_PATH", path(here + "/secret", O_PATH));
    out.add("a symbolic link, O_PATH", path(here + "/root", O_PATH | O_NOFOLLOW));
    out.add("a named pipe", path(here + "/pipe", O_RDWR));
    out.add("/dev/null", path("/dev/null", O_RDWR));
    out.add("/dev/zero", path("/dev/zero", O_RDWR));
    out.add("/dev/fuse, not mounted", path("/dev/fuse", O_RDWR));
    out.add("a loop device's control", path("/dev/loop-control", O_RDWR));
    out.add("a terminal", path("/dev/ptmx", O_RDWR | O_NOCTTY));
    for (const char* const name : {"mnt", "user", "pid", "net", "ipc", "uts", "cgroup"}) {
        out.add("a namespace", path(fmt::format("/proc/self/ns/{}", name), O_RDONLY));
    }
    out.add("/proc/self", path("/proc/self", O_RDONLY | O_DIRECTORY));
    out.add("/proc/self/mem", path("/proc/self/mem", O_RDWR));
    out.add("/proc/self/environ", path("/proc/self/environ", O_RDONLY));
    out.add("/proc/sysrq-trigger", path("/proc/sysrq-trigger", O_RDONLY));
    out.add("/sys/kernel", path("/sys/kernel", O_RDONLY | O_DIRECTORY));
    out.add("/sys/fs/cgroup", path("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY));
}

void add_kernel_objects(Kinds& out, const Canary& canary) {
    out.add("a pidfd", Fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))));
    out.add("a mount",
            Fd(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, canary.directory().c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC))));
    out.add("a file system that is being made", Fd(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC))));
    out.add("eventfd", Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
    out.add("timerfd", Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)));
    out.add("epoll", Fd(::epoll_create1(EPOLL_CLOEXEC)));
    out.add("inotify", Fd(::inotify_init1(IN_CLOEXEC)));
    sigset_t none;
    ::sigemptyset(&none);
    out.add("signalfd", Fd(::signalfd(-1, &none, SFD_CLOEXEC)));
    out.add("userfaultfd", Fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY))));
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) == 0) {
        out.add("a pipe to read", Fd(pipe[0]));
        out.add("a pipe to write", Fd(pipe[1]));
    }
}

void add_sockets(Kinds& out) {
    out.add_pair("a stream socket", AF_UNIX, SOCK_STREAM);
    out.add_pair("a datagram socket", AF_UNIX, SOCK_DGRAM);
    out.add_pair("a control socket", AF_UNIX, SOCK_SEQPACKET);
    out.add_pair("a control socket whose other end is gone", AF_UNIX, SOCK_SEQPACKET);
    out.list.back().with.clear();
    out.add("a control socket that is connected to nothing", Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)));
    Fd listening(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr any{};
    any.sa_family = AF_UNIX; // the kernel finds a name
    if (::bind(listening.get(), &any, sizeof any.sa_family) == 0 && ::listen(listening.get(), 1) == 0) {
        out.add("a listening socket", std::move(listening));
    }
    // One that carries itself: the kernel alone can free it
    out.add_pair("a control socket in its own queue", AF_UNIX, SOCK_SEQPACKET);
    const std::byte word{};
    (void)send_datagram(out.list.back().with.front().get(), std::span(&word, 1), std::array{out.list.back().fd.get()}, Wait::No);
    out.add("TCP", Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    out.add("UDP", Fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
    out.add("netlink", Fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)));
    out.add("packets", Fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)));
}

void add_memory(Kinds& out) {
    constexpr std::size_t kSome = 4096;
    out.add("sealed memory of zeros", memory(kSome, kAllSeals));
    out.add("the largest sealed memory", memory(kJobSpecMax, kAllSeals));
    out.add("the smallest", memory(1, kAllSeals));
    out.add("sealed against everything", memory(kSome, kAllSeals | F_SEAL_FUTURE_WRITE));
    out.add("sealed memory that is too large", memory(kJobSpecMax + 1, kAllSeals));
    out.add("sealed memory of many gigabytes", memory(std::size_t{1} << 40U, kAllSeals));
    out.add("sealed memory of nothing", memory(0, kAllSeals));
    out.add("memory that is not sealed", memory(kSome, 0));
    out.add("memory that cannot be sealed", memory(kSome, 0, 0));
    for (const int seal : {F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE}) {
        out.add("memory with one seal too few", memory(kSome, kAllSeals & ~seal));
    }
    out.add("memory that can still be written by a mapping", memory(kSome, (kAllSeals & ~F_SEAL_WRITE) | F_SEAL_FUTURE_WRITE));
    const Fd sealed = memory(kSome, kAllSeals);
    out.add("sealed memory, opened to read", opened_again(sealed, O_RDONLY));
    out.add("sealed memory, O_PATH", opened_again(sealed, O_PATH));
    out.add("secret memory", Fd(static_cast<int>(::syscall(SYS_memfd_secret, O_CLOEXEC))));
    out.add("memory of huge pages", memory(0, F_SEAL_SEAL, MFD_ALLOW_SEALING | MFD_HUGETLB));
}

} // namespace

std::vector<DescriptorKind> descriptor_kinds(const Canary& canary) {
    Kinds out;
    add_files(out, canary);
    add_kernel_objects(out, canary);
    add_sockets(out);
    add_memory(out);
    return std::move(out.list);
}

} // namespace joblet::testing
