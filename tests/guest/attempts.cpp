#include "tests/guest/attempts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "tests/guest/json.h"

namespace guest {

namespace {

constexpr long kFileSetattr = 469; // Linux 6.17
constexpr unsigned long kBtrfsSubvolumeCreate = 0x5000940e;
constexpr unsigned long kBtrfsSnapCreateV2 = 0x50009417;
constexpr unsigned long kBtrfsQuotaCtl = 0xc0109428;
constexpr unsigned long kBeyond32Bits = 1UL << 32U; // the kernel ignores it in an ioctl's number; a filter might not
constexpr int kNetlinkAudit = 9;

struct Attempt {
    const char* name;
    long (*act)(const std::string& directory); // negative: failed, errno says how
};

long open_and_close(const char* path, int flags, mode_t mode = 0) {
    const int fd = ::open(path, flags | O_CLOEXEC, mode);
    if (fd >= 0) {
        ::close(fd);
    }
    return fd;
}

template <class Act> long with_file(const std::string& path, int flags, Act act) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    const long result = act(fd);
    const int error = errno;
    ::close(fd);
    errno = error;
    return result;
}

long ioctl_on(const std::string& directory, unsigned long command) {
    return with_file(directory, O_RDONLY | O_DIRECTORY, [&](int fd) {
        std::array<char, 8192> argument{}; // as large as any of them reads or writes
        return ::ioctl(fd, command, argument.data());
    });
}

long socket_of(int domain, int type, int protocol) {
    const int fd = ::socket(domain, type | SOCK_CLOEXEC, protocol);
    if (fd >= 0) {
        ::close(fd);
    }
    return fd;
}

long loopback_tcp() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (listener < 0 || ::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 || ::listen(listener, 1) < 0 ||
        ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) < 0) {
        return -1;
    }
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const long result = ::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address);
    const int error = errno;
    ::close(client);
    ::close(listener);
    errno = error;
    return result;
}

long clone_into(unsigned long flags) {
    const long pid = ::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, 0);
    if (pid == 0) {
        ::_exit(0);
    }
    if (pid > 0) {
        ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
    }
    return pid;
}

long set_project() {
    return with_file("/work/project", O_CREAT | O_RDWR, [](int fd) {
        fsxattr attributes{};
        attributes.fsx_projid = 77;
        return ::ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
    });
}

long set_capability(const std::string& directory) {
    // VFS_CAP_REVISION_2, effective, every bit
    constexpr std::array<unsigned char, 20> kAll = {1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0};
    const std::string path = directory + "/capable";
    if (open_and_close(path.c_str(), O_CREAT | O_WRONLY, 0755) < 0) {
        return -1;
    }
    return ::setxattr(path.c_str(), "security.capability", kAll.data(), kAll.size(), 0);
}

using Where = const std::string&;

constexpr std::array kAttempts = {
    // mounts and roots
    Attempt{"mount_tmpfs", [](Where) -> long { return ::mount("t", "/tmp", "tmpfs", 0, nullptr); }},
    Attempt{"mount_bind", [](Where) -> long { return ::mount("/work", "/tmp", nullptr, MS_BIND, nullptr); }},
    Attempt{"mount_remount", [](Where d) -> long { return ::mount(nullptr, d.c_str(), nullptr, MS_REMOUNT | MS_BIND, nullptr); }},
    Attempt{"umount", [](Where d) -> long { return ::umount2(d.c_str(), MNT_DETACH); }},
    Attempt{"mount_setattr", [](Where d) -> long {
                mount_attr clear{};
                clear.attr_clr = MOUNT_ATTR_NOSUID;
                return ::mount_setattr(AT_FDCWD, d.c_str(), 0, &clear, sizeof clear);
            }},
    Attempt{"fsopen", [](Where) -> long { return ::fsopen("tmpfs", 0); }},
    Attempt{"fspick", [](Where) -> long { return ::fspick(AT_FDCWD, "/work", 0); }},
    Attempt{"open_tree", [](Where d) -> long { return ::open_tree(AT_FDCWD, d.c_str(), OPEN_TREE_CLONE); }},
    Attempt{"move_mount", [](Where) -> long { return ::move_mount(AT_FDCWD, "/tmp", AT_FDCWD, "/work", 0); }},
    Attempt{"pivot_root", [](Where) -> long { return ::syscall(SYS_pivot_root, "/work", "/work"); }},
    Attempt{"chroot", [](Where d) -> long { return ::chroot(d.c_str()); }},
    Attempt{"statmount", [](Where) -> long { return ::syscall(457, nullptr, nullptr, 0, 0); }},
    Attempt{"open_tree_attr", [](Where d) -> long { return ::syscall(467, AT_FDCWD, d.c_str(), OPEN_TREE_CLONE, nullptr, 0); }},
    // namespaces
    Attempt{"unshare_user", [](Where) -> long { return ::unshare(CLONE_NEWUSER); }},
    Attempt{"unshare_mount", [](Where) -> long { return ::unshare(CLONE_NEWNS); }},
    Attempt{"unshare_net", [](Where) -> long { return ::unshare(CLONE_NEWNET); }},
    Attempt{"unshare_files", [](Where) -> long { return ::unshare(CLONE_FILES); }},
    Attempt{"clone_user", [](Where) -> long { return clone_into(CLONE_NEWUSER); }},
    Attempt{"clone_pid", [](Where) -> long { return clone_into(CLONE_NEWPID); }},
    Attempt{"clone_plain", [](Where) -> long { return clone_into(0); }},
    Attempt{"clone3", [](Where) -> long {
                clone_args arguments{};
                arguments.flags = CLONE_NEWUSER;
                return ::syscall(SYS_clone3, &arguments, sizeof arguments);
            }},
    Attempt{"setns", [](Where) -> long { return with_file("/proc/self/ns/net", O_RDONLY, [](int fd) { return ::setns(fd, 0); }); }},
    Attempt{"sethostname", [](Where) -> long { return ::sethostname("x", 1); }},
    Attempt{"setdomainname", [](Where) -> long { return ::setdomainname("x", 1); }},
    // other processes, pid 1 above all
    Attempt{"ptrace_init", [](Where) -> long { return ::ptrace(PTRACE_ATTACH, 1, nullptr, nullptr); }},
    Attempt{"process_vm_readv_init", [](Where) -> long { return ::syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0); }},
    Attempt{"pidfd_getfd_init", [](Where) -> long { return ::syscall(SYS_pidfd_getfd, ::syscall(SYS_pidfd_open, 1, 0), 3, 0); }},
    Attempt{"kcmp_init", [](Where) -> long { return ::syscall(SYS_kcmp, 1, ::getpid(), KCMP_FILES, 0, 0); }},
    Attempt{"kill_init", [](Where) -> long { return ::kill(1, SIGKILL); }},
    Attempt{"stop_init", [](Where) -> long { return ::kill(1, SIGSTOP); }},
    Attempt{"prlimit_init", [](Where) -> long {
                const rlimit none{};
                return ::prlimit(1, RLIMIT_FSIZE, &none, nullptr);
            }},
    Attempt{"prlimit_self", [](Where) -> long {
                rlimit limit{};
                return ::prlimit(0, RLIMIT_FSIZE, nullptr, &limit);
            }},
    Attempt{"proc_1_environ", [](Where) -> long { return open_and_close("/proc/1/environ", O_RDONLY); }},
    Attempt{"proc_1_maps", [](Where) -> long { return open_and_close("/proc/1/maps", O_RDONLY); }},
    Attempt{"proc_1_mem", [](Where) -> long { return open_and_close("/proc/1/mem", O_RDWR); }},
    Attempt{"proc_1_fd", [](Where) -> long { return open_and_close("/proc/1/fd", O_RDONLY | O_DIRECTORY); }},
    Attempt{"proc_1_root", [](Where) -> long { return open_and_close("/proc/1/root", O_RDONLY | O_DIRECTORY); }},
    Attempt{"proc_1_cwd", [](Where) -> long { return open_and_close("/proc/1/cwd", O_RDONLY | O_DIRECTORY); }},
    Attempt{"proc_1_exe", [](Where) -> long { return open_and_close("/proc/1/exe", O_RDONLY); }},
    Attempt{"proc_1_ns_mnt", [](Where) -> long { return open_and_close("/proc/1/ns/mnt", O_RDONLY); }},
    // programs and rings in the kernel, keys, files by handle
    Attempt{"bpf", [](Where) -> long {
                bpf_attr attributes{};
                return ::syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
            }},
    Attempt{"perf_event_open", [](Where) -> long {
                perf_event_attr attributes{};
                attributes.size = sizeof attributes;
                return ::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
            }},
    Attempt{"userfaultfd", [](Where) -> long { return ::syscall(SYS_userfaultfd, O_CLOEXEC | 1); }},
    Attempt{"io_uring_setup", [](Where) -> long {
                io_uring_params parameters{};
                return ::syscall(SYS_io_uring_setup, 1, &parameters);
            }},
    Attempt{"keyctl", [](Where) -> long { return ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1); }},
    Attempt{"add_key", [](Where) -> long { return ::syscall(SYS_add_key, "user", "x", "y", 1, KEY_SPEC_PROCESS_KEYRING); }},
    Attempt{"request_key", [](Where) -> long { return ::syscall(SYS_request_key, "user", "x", nullptr, 0); }},
    Attempt{"open_by_handle_at", [](Where) -> long { return ::syscall(SYS_open_by_handle_at, AT_FDCWD, nullptr, 0); }},
    Attempt{"name_to_handle_at", [](Where) -> long { return ::syscall(SYS_name_to_handle_at, AT_FDCWD, "/", nullptr, nullptr, 0); }},
    Attempt{"fanotify_init", [](Where) -> long { return ::syscall(SYS_fanotify_init, 0, 0); }},
    // the machine
    Attempt{"reboot", [](Where) -> long { return ::syscall(SYS_reboot, 0, 0, 0, nullptr); }},
    Attempt{"init_module", [](Where) -> long { return ::syscall(SYS_init_module, nullptr, 0, ""); }},
    Attempt{"kexec_load", [](Where) -> long { return ::syscall(SYS_kexec_load, 0, 0, nullptr, 0); }},
    Attempt{"swapon", [](Where) -> long { return ::syscall(SYS_swapon, "/work/x", 0); }},
    Attempt{"syslog", [](Where) -> long { return ::syscall(SYS_syslog, 10, nullptr, 0); }},
    Attempt{"quotactl", [](Where) -> long { return ::syscall(SYS_quotactl, 0, nullptr, 0, nullptr); }},
    Attempt{"acct", [](Where) -> long { return ::syscall(SYS_acct, nullptr); }},
    Attempt{"iopl", [](Where) -> long { return ::syscall(SYS_iopl, 3); }},
    Attempt{"settimeofday", [](Where) -> long { return ::syscall(SYS_settimeofday, nullptr, nullptr); }},
    // controls
    Attempt{"tiocsti", [](Where) -> long { return ::ioctl(0, TIOCSTI, "x"); }},
    Attempt{"tiocsti_beyond_32_bits", [](Where) -> long { return ::ioctl(0, TIOCSTI | kBeyond32Bits, "x"); }},
    Attempt{"tioclinux", [](Where) -> long { return ::ioctl(0, TIOCLINUX, "\2"); }},
    Attempt{"tiocsetd", [](Where) -> long { return ::ioctl(0, TIOCSETD, "\1\0\0"); }},
    Attempt{"in_fssetxattr", [](Where) -> long { return set_project(); }},
    Attempt{"in_file_setattr", [](Where d) -> long {
                struct {
                    std::uint64_t flags;
                    std::uint32_t rest[4];
                } attributes{};
                return ::syscall(kFileSetattr, AT_FDCWD, d.c_str(), &attributes, sizeof attributes, 0);
            }},
    Attempt{"in_btrfs_subvolume", [](Where d) -> long { return ioctl_on(d, kBtrfsSubvolumeCreate); }},
    Attempt{"in_btrfs_snapshot", [](Where d) -> long { return ioctl_on(d, kBtrfsSnapCreateV2); }},
    Attempt{"in_btrfs_quota", [](Where d) -> long { return ioctl_on(d, kBtrfsQuotaCtl); }},
    Attempt{"in_btrfs_beyond_32_bits", [](Where d) -> long { return ioctl_on(d, kBtrfsSubvolumeCreate | kBeyond32Bits); }},
    // A clone from a descriptor that is none: reaches the kernel, which says EBADF
    Attempt{"in_ficlone", [](Where d) -> long {
                return with_file(d + "/clone", O_CREAT | O_RDWR, [](int fd) { return ::ioctl(fd, FICLONE, 4095); });
            }},
    Attempt{"in_reflink", [](Where d) -> long {
                return with_file(d + "/shared", O_CREAT | O_RDWR, [&d](int from) {
                    return with_file(d + "/sharing", O_CREAT | O_RDWR, [from](int to) { return ::ioctl(to, FICLONE, from); });
                });
            }},
    // ids, devices, attributes
    Attempt{"setuid_other", [](Where) -> long { return ::setresuid(1000, 1000, 1000); }},
    Attempt{"in_chown_other", [](Where d) -> long {
                const std::string path = d + "/owned";
                return open_and_close(path.c_str(), O_CREAT | O_WRONLY, 0600) < 0 ? -1 : ::chown(path.c_str(), 5, 5);
            }},
    Attempt{"in_mknod_null", [](Where d) -> long { return ::mknod((d + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)); }},
    Attempt{"in_mknod_whiteout", [](Where d) -> long { return ::mknod((d + "/whiteout").c_str(), S_IFCHR, 0); }},
    Attempt{"in_mkfifo", [](Where d) -> long { return ::mkfifo((d + "/fifo").c_str(), 0600); }},
    Attempt{"in_file_capability", [](Where d) -> long { return set_capability(d); }},
    Attempt{"in_trusted_attribute", [](Where d) -> long { return ::setxattr(d.c_str(), "trusted.x", "1", 1, 0); }},
    // sockets
    Attempt{"socket_alg", [](Where) -> long { return socket_of(AF_ALG, SOCK_SEQPACKET, 0); }},
    Attempt{"socket_vsock", [](Where) -> long { return socket_of(AF_VSOCK, SOCK_STREAM, 0); }},
    Attempt{"socket_packet", [](Where) -> long { return socket_of(AF_PACKET, SOCK_RAW, 0); }},
    Attempt{"socket_raw", [](Where) -> long { return socket_of(AF_INET, SOCK_RAW, IPPROTO_ICMP); }},
    Attempt{"socket_audit", [](Where) -> long { return socket_of(AF_NETLINK, SOCK_RAW, kNetlinkAudit); }},
    Attempt{"socket_route", [](Where) -> long { return socket_of(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE); }},
    Attempt{"socket_unix", [](Where) -> long { return socket_of(AF_UNIX, SOCK_STREAM, 0); }},
    Attempt{"loopback_tcp", [](Where) -> long { return loopback_tcp(); }},
    // places
    Attempt{"write_root", [](Where) -> long { return open_and_close("/x", O_CREAT | O_WRONLY, 0600); }},
    Attempt{"write_dev", [](Where) -> long { return open_and_close("/dev/x", O_CREAT | O_WRONLY, 0600); }},
    Attempt{"mkdir_volumes", [](Where) -> long { return ::mkdir("/volumes/x", 0700); }},
    Attempt{"write_oom_score", [](Where) -> long { return open_and_close("/proc/self/oom_score_adj", O_WRONLY); }},
    Attempt{"proc_sys", [](Where) -> long { return open_and_close("/proc/sys/kernel/hostname", O_RDONLY); }},
    Attempt{"proc_kcore", [](Where) -> long { return open_and_close("/proc/kcore", O_RDONLY); }},
    Attempt{"sys", [](Where) -> long { return open_and_close("/sys", O_RDONLY | O_DIRECTORY); }},
    Attempt{"dev_mem", [](Where) -> long { return open_and_close("/dev/mem", O_RDONLY); }},
    Attempt{"dev_null", [](Where) -> long { return open_and_close("/dev/null", O_RDWR); }},
    Attempt{"dev_urandom", [](Where) -> long { return open_and_close("/dev/urandom", O_RDONLY); }},
    // other ways into the kernel
    Attempt{"i386_getpid", [](Where) -> long {
                long result = 20; // __NR_getpid of i386
                asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
                return result;
            }},
    Attempt{"x32_getpid", [](Where) -> long { return ::syscall(0x40000000 | SYS_getpid); }},
    Attempt{"no_such_call", [](Where) -> long { return ::syscall(599); }},
};

// Each in a process of its own: some succeed, some are killed.
std::string outcome_of(const Attempt& attempt, const std::string& directory) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) < 0) {
        return "no pipe";
    }
    const pid_t pid = ::fork();
    if (pid == 0) {
        errno = 0;
        const int error = attempt.act(directory) < 0 ? errno : 0;
        [[maybe_unused]] const ssize_t written = ::write(pipe[1], &error, sizeof error);
        ::_exit(0);
    }
    ::close(pipe[1]);
    int error = 0;
    const bool said = ::read(pipe[0], &error, sizeof error) == static_cast<ssize_t>(sizeof error);
    ::close(pipe[0]);
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (!said) {
        return WIFSIGNALED(status) ? std::string("SIG") + ::sigabbrev_np(WTERMSIG(status)) : "no answer";
    }
    const char* const name = error == 0 ? "ok" : ::strerrorname_np(error);
    return name != nullptr ? name : "errno " + std::to_string(error);
}

} // namespace

std::string attempts(const std::string& directory) {
    auto out = object();
    for (const auto& attempt : kAttempts) {
        out.add(attempt.name, quoted(outcome_of(attempt, directory)));
    }
    return out.json();
}

} // namespace guest
