#include "shared/stdio_kind.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <optional>

namespace joblet {

namespace {

// Device numbers from Documentation/admin-guide/devices.txt
constexpr unsigned kMemoryMajor = 1;
constexpr unsigned kNullMinor = 3;
constexpr unsigned kTtyMajor = 4;        // virtual consoles and serial lines
constexpr unsigned kTtyAuxMajor = 5;     // /dev/tty, /dev/console
constexpr unsigned kPtySlaveFirst = 136; // Unix98 pseudo terminals
constexpr unsigned kPtySlaveLast = 143;
constexpr unsigned kUsbSerialMajor = 188;
constexpr unsigned kVirtioConsoleMajor = 229; // hvc

// Not in every linux/magic.h of Debian 12
constexpr long kPidfsMagic = 0x50494446;
constexpr long kFuseControlMagic = 0x65735543;

std::optional<struct statx> look_at(int fd) {
    struct statx out{};
    // DONT_SYNC: whatever is cached, so that a FUSE or network server is not asked and cannot keep us
    if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_MODE | STATX_SIZE, &out) != 0) {
        return std::nullopt;
    }
    return out;
}

bool is_terminal_or_null(unsigned major, unsigned minor) {
    return (major == kMemoryMajor && minor == kNullMinor) || major == kTtyMajor || major == kTtyAuxMajor || major == kUsbSerialMajor ||
           major == kVirtioConsoleMajor || (major >= kPtySlaveFirst && major <= kPtySlaveLast);
}

} // namespace

bool is_acceptable_stdio(int fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_PATH) != 0) {
        return false;
    }
    const auto info = look_at(fd);
    if (!info) {
        return false;
    }
    switch (info->stx_mode & S_IFMT) {
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFREG:
        return true;
    case S_IFCHR:
        return is_terminal_or_null(info->stx_rdev_major, info->stx_rdev_minor);
    default:
        return false; // directories, block devices, and anonymous inodes, which have no type
    }
}

bool is_pseudo_file(int fd) {
    static constexpr std::array<long, 13> kPseudo = {
        PROC_SUPER_MAGIC, SYSFS_MAGIC,      NSFS_MAGIC,    kPidfsMagic,  CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC,
        TRACEFS_MAGIC,    SECURITYFS_MAGIC, SELINUX_MAGIC, BPF_FS_MAGIC, EFIVARFS_MAGIC,     kFuseControlMagic};
    struct stat info{};
    if (::fstat(fd, &info) != 0) {
        return true;
    }
    if (!S_ISREG(info.st_mode)) {
        return false;
    }
    struct statfs system{};
    if (::fstatfs(fd, &system) != 0) {
        return true;
    }
    return std::ranges::find(kPseudo, static_cast<long>(system.f_type)) != kPseudo.end();
}

} // namespace joblet
