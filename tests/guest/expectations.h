// What must be true inside every job of a user, in one place: tests compare it with what tests/guest reports.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace guest {

// Every namespace is the job's own.
inline constexpr std::array<std::string_view, 7> kOwnNamespaces = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};

inline constexpr std::string_view kNoCapabilities = "0000000000000000";
// CHOWN, DAC_OVERRIDE, FOWNER: what a system job has in its own user namespace
inline constexpr std::string_view kSystemCapabilities = "000000000000000b";
inline constexpr std::array<std::string_view, 5> kCapabilitySets = {"inheritable", "permitted", "effective", "bounding", "ambient"};

inline constexpr int kSeccompFilter = 2; // SECCOMP_MODE_FILTER
inline constexpr std::uint32_t kSlotSize = 65536;
inline constexpr std::string_view kUmask = "0022";
inline constexpr std::string_view kNoSignals = "0000000000000000";

// A mount that every job has. `flags`: separated by commas, all of these must be there; `forbidden` must not.
struct ExpectedMount {
    std::string_view target;
    std::string_view fstype;
    std::string_view flags;
    std::string_view forbidden;
};
inline constexpr std::array kMounts = {
    ExpectedMount{"/", "tmpfs", "ro,nosuid,nodev", "rw"},           ExpectedMount{"/volumes", "tmpfs", "nosuid,nodev,noexec", ""},
    ExpectedMount{"/work", "tmpfs", "rw,nosuid,nodev", "noexec"},   ExpectedMount{"/tmp", "tmpfs", "rw,nosuid,nodev", "noexec"},
    ExpectedMount{"/dev/shm", "tmpfs", "rw,nosuid,nodev", ""},      ExpectedMount{"/dev/pts", "devpts", "rw,nosuid,noexec", "nodev"},
    ExpectedMount{"/proc", "proc", "ro,nosuid,nodev,noexec", "rw"},
};
// Every other mount has these two, but for device nodes (fstype of /dev and what lies below), which have nosuid and noexec.
inline constexpr std::string_view kAnyMountFlags = "nosuid,nodev";
inline constexpr std::string_view kDeviceMountFlags = "nosuid,noexec";
inline constexpr std::string_view kDevices = "/dev";
// In the super options of /proc. subset=pid,hidepid=ptraceable, as Linux shows them.
inline constexpr std::array<std::string_view, 2> kProcOptions = {"hidepid=ptraceable", "subset=pid"};

struct ExpectedDirectory {
    std::string_view path;
    bool exists;
    bool writable;
    std::string_view mode; // empty: whatever the base has
};
inline constexpr std::array kDirectories = {
    ExpectedDirectory{"/", true, false, "0755"},        ExpectedDirectory{"/usr", true, false, ""},
    ExpectedDirectory{"/dev", true, false, "0755"},     ExpectedDirectory{"/dev/shm", true, true, "1777"},
    ExpectedDirectory{"/dev/pts", true, false, ""},     ExpectedDirectory{"/proc", true, false, "0555"},
    ExpectedDirectory{"/tmp", true, true, "1777"},      ExpectedDirectory{"/work", true, true, "0700"},
    ExpectedDirectory{"/volumes", true, false, "0755"}, ExpectedDirectory{"/sys", false, false, ""},
};
// The root holds these and the first components of targets; nothing else.
inline constexpr std::array<std::string_view, 11> kRootNames = {"bin",  "dev", "etc", "lib",  "lib64",  "proc",
                                                                "sbin", "tmp", "usr", "work", "volumes"};

// Answers of `guest attempts`. Two answers where kernels differ (a kernel without i386 has no int 0x80: SIGSEGV).
struct ExpectedAnswer {
    std::string_view attempt;
    std::string_view answer;
    std::string_view other = "";
};
inline constexpr std::array kAnswers = {
    ExpectedAnswer{"mount_tmpfs", "EPERM"},
    ExpectedAnswer{"mount_bind", "EPERM"},
    ExpectedAnswer{"mount_remount", "EPERM"},
    ExpectedAnswer{"umount", "EPERM"},
    ExpectedAnswer{"mount_setattr", "EPERM"},
    ExpectedAnswer{"fsopen", "EPERM"},
    ExpectedAnswer{"fspick", "EPERM"},
    ExpectedAnswer{"open_tree", "EPERM"},
    ExpectedAnswer{"move_mount", "EPERM"},
    ExpectedAnswer{"pivot_root", "EPERM"},
    ExpectedAnswer{"chroot", "EPERM"},
    ExpectedAnswer{"statmount", "EPERM"},
    ExpectedAnswer{"open_tree_attr", "EPERM"},
    ExpectedAnswer{"unshare_user", "EPERM"},
    ExpectedAnswer{"unshare_mount", "EPERM"},
    ExpectedAnswer{"unshare_net", "EPERM"},
    ExpectedAnswer{"unshare_files", "ok"},
    ExpectedAnswer{"clone_user", "EPERM"},
    ExpectedAnswer{"clone_pid", "EPERM"},
    ExpectedAnswer{"clone_plain", "ok"},
    ExpectedAnswer{"clone3", "ENOSYS"},
    ExpectedAnswer{"setns", "EPERM"},
    ExpectedAnswer{"sethostname", "EPERM"},
    ExpectedAnswer{"setdomainname", "EPERM"},
    ExpectedAnswer{"ptrace_init", "EPERM"},
    ExpectedAnswer{"process_vm_readv_init", "EPERM"},
    ExpectedAnswer{"pidfd_getfd_init", "EPERM"},
    ExpectedAnswer{"kcmp_init", "EPERM"},
    ExpectedAnswer{"kill_init", "ok"}, // the kernel drops it: see that the job goes on
    ExpectedAnswer{"stop_init", "ok"},
    ExpectedAnswer{"prlimit_init", "EPERM"},
    ExpectedAnswer{"prlimit_self", "ok"},
    ExpectedAnswer{"proc_1_environ", "EPERM", "EACCES"}, // hidepid=ptraceable; without it EACCES
    ExpectedAnswer{"proc_1_maps", "EPERM", "EACCES"},
    ExpectedAnswer{"proc_1_mem", "EPERM", "EACCES"},
    ExpectedAnswer{"proc_1_fd", "EPERM", "EACCES"},
    ExpectedAnswer{"proc_1_root", "EPERM", "EACCES"},
    ExpectedAnswer{"proc_1_cwd", "EPERM", "EACCES"},
    ExpectedAnswer{"proc_1_exe", "EPERM", "EACCES"},
    ExpectedAnswer{"proc_1_ns_mnt", "EPERM", "EACCES"},
    ExpectedAnswer{"bpf", "EPERM"},
    ExpectedAnswer{"perf_event_open", "EPERM"},
    ExpectedAnswer{"userfaultfd", "EPERM"},
    ExpectedAnswer{"io_uring_setup", "EPERM"},
    ExpectedAnswer{"keyctl", "EPERM"},
    ExpectedAnswer{"add_key", "EPERM"},
    ExpectedAnswer{"request_key", "EPERM"},
    ExpectedAnswer{"open_by_handle_at", "EPERM"},
    ExpectedAnswer{"name_to_handle_at", "EPERM"},
    ExpectedAnswer{"fanotify_init", "EPERM"},
    ExpectedAnswer{"reboot", "EPERM"},
    ExpectedAnswer{"init_module", "EPERM"},
    ExpectedAnswer{"kexec_load", "EPERM"},
    ExpectedAnswer{"swapon", "EPERM"},
    ExpectedAnswer{"syslog", "EPERM"},
    ExpectedAnswer{"quotactl", "EPERM"},
    ExpectedAnswer{"acct", "EPERM"},
    ExpectedAnswer{"iopl", "EPERM"},
    ExpectedAnswer{"settimeofday", "EPERM"},
    ExpectedAnswer{"tiocsti", "EPERM"},
    ExpectedAnswer{"tiocsti_beyond_32_bits", "EPERM"},
    ExpectedAnswer{"tioclinux", "EPERM"},
    ExpectedAnswer{"tiocsetd", "EPERM"},
    ExpectedAnswer{"in_fssetxattr", "EPERM"},
    ExpectedAnswer{"in_file_setattr", "EPERM"},
    ExpectedAnswer{"in_btrfs_subvolume", "EPERM"},
    ExpectedAnswer{"in_btrfs_snapshot", "EPERM"},
    ExpectedAnswer{"in_btrfs_quota", "EPERM"},
    ExpectedAnswer{"in_btrfs_beyond_32_bits", "EPERM"},
    ExpectedAnswer{"in_ficlone", "EBADF"},
    ExpectedAnswer{"in_reflink", "ok", "EOPNOTSUPP"}, // where the file system cannot share blocks
    ExpectedAnswer{"setuid_other", "EPERM"},
    ExpectedAnswer{"in_chown_other", "EPERM"},
    ExpectedAnswer{"in_mknod_null", "EPERM"},
    ExpectedAnswer{"in_mknod_whiteout", "EPERM"},
    ExpectedAnswer{"in_mkfifo", "ok"},
    ExpectedAnswer{"in_file_capability", "EPERM"},
    ExpectedAnswer{"in_trusted_attribute", "EPERM"},
    ExpectedAnswer{"socket_alg", "EPERM"},
    ExpectedAnswer{"socket_vsock", "EPERM"},
    ExpectedAnswer{"socket_packet", "EPERM"},
    ExpectedAnswer{"socket_raw", "EPERM"},
    ExpectedAnswer{"socket_audit", "EPERM"},
    ExpectedAnswer{"socket_route", "ok"},
    ExpectedAnswer{"socket_unix", "ok"},
    ExpectedAnswer{"loopback_tcp", "ok"},
    ExpectedAnswer{"write_root", "EROFS"},
    ExpectedAnswer{"write_dev", "EROFS"},
    ExpectedAnswer{"mkdir_volumes", "EACCES", "EROFS"},
    ExpectedAnswer{"write_oom_score", "EROFS"},
    ExpectedAnswer{"proc_sys", "ENOENT"},
    ExpectedAnswer{"proc_kcore", "ENOENT"},
    ExpectedAnswer{"sys", "ENOENT"},
    ExpectedAnswer{"dev_mem", "ENOENT"},
    ExpectedAnswer{"dev_null", "ok"},
    ExpectedAnswer{"dev_urandom", "ok"},
    ExpectedAnswer{"i386_getpid", "SIGSYS", "SIGSEGV"},
    ExpectedAnswer{"x32_getpid", "SIGSYS"},
    ExpectedAnswer{"no_such_call", "EPERM"},
};

} // namespace guest
