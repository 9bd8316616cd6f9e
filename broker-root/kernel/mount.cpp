#include "broker-root/kernel/mount.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "shared/log.h"

namespace joblet::kernel {
namespace {

constexpr std::uint64_t kNoSuidNoDev = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

constexpr std::uint64_t bits_of(Attributes attributes) {
    switch (attributes) {
    case Attributes::NoSuidNoDev:
        return kNoSuidNoDev;
    case Attributes::NoSuidNoDevNoExec:
        return kNoSuidNoDev | MOUNT_ATTR_NOEXEC;
    case Attributes::NoSuidNoExec:
        return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
    case Attributes::ReadOnlyNoSuidNoDev:
        return kNoSuidNoDev | MOUNT_ATTR_RDONLY;
    case Attributes::ReadOnlyNoSuidNoExec:
        return MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
    case Attributes::ReadOnlyAllNoExec:
        return kNoSuidNoDev | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC;
    }
    return kNoSuidNoDev | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC;
}

// Every mount that is ever made has nosuid, and nodev unless device nodes are what it is for: then noexec.
constexpr bool is_harmless(Attributes attributes) {
    const std::uint64_t bits = bits_of(attributes);
    return (bits & MOUNT_ATTR_NOSUID) != 0 && (bits & (MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)) != 0;
}
static_assert(is_harmless(Attributes::NoSuidNoDev) && is_harmless(Attributes::NoSuidNoDevNoExec) && is_harmless(Attributes::NoSuidNoExec) &&
              is_harmless(Attributes::ReadOnlyNoSuidNoDev) && is_harmless(Attributes::ReadOnlyNoSuidNoExec) &&
              is_harmless(Attributes::ReadOnlyAllNoExec));

Result<void> checked(long result) {
    if (result < 0) {
        return last_errno();
    }
    return {};
}

Result<Fd> checked_fd(long result) {
    if (result < 0) {
        return last_errno();
    }
    return Fd(static_cast<int>(result));
}

// A file system context (fsopen) being configured. The first failure stays; what follows it does nothing.
class Context {
  public:
    explicit Context(const char* type) : type_(type), fd_(::fsopen(type, FSOPEN_CLOEXEC)) {
        note(fd_.valid() ? 0 : -1, "open");
    }
    // Of what is mounted already, to be changed.
    Context(const char* type, int root) : type_(type), fd_(::fspick(root, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)) {
        note(fd_.valid() ? 0 : -1, "pick");
    }

    Context& text(const char* key, const char* value) {
        if (error_ == 0) {
            note(::fsconfig(fd_.get(), FSCONFIG_SET_STRING, key, value, 0), key);
        }
        return *this;
    }
    // Formatted here: the kernel reads "50%" and suffixes, and takes a zero for "unlimited".
    Context& number(const char* key, std::uint64_t value, const char* format = "%llu") {
        std::array<char, 32> digits{};
        std::snprintf(digits.data(), digits.size(), format, static_cast<unsigned long long>(value));
        return text(key, digits.data());
    }
    Context& flag(const char* key) {
        if (error_ == 0) {
            note(::fsconfig(fd_.get(), FSCONFIG_SET_FLAG, key, nullptr, 0), key);
        }
        return *this;
    }
    Result<Fd> mount(std::uint64_t attributes) {
        if (error_ == 0) {
            note(::fsconfig(fd_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), "create");
        }
        if (error_ == 0) {
            Fd made(::fsmount(fd_.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
            note(made.valid() ? 0 : -1, "fsmount");
            if (made.valid()) {
                return made;
            }
        }
        return std::unexpected(error_);
    }
    Result<void> reconfigure() {
        if (error_ == 0) {
            note(::fsconfig(fd_.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0), "reconfigure");
        }
        return error_ == 0 ? Result<void>() : std::unexpected(error_);
    }

  private:
    // The kernel says on the context itself what it did not like; nothing else tells which option it was.
    void note(int result, const char* what) {
        if (result >= 0) {
            return;
        }
        error_ = errno;
        std::array<char, 512> said{};
        ssize_t length = fd_.valid() ? ::read(fd_.get(), said.data(), said.size() - 1) : -1;
        if (length <= 0) {
            length = 0;
        }
        std::array<char, 768> line{};
        const int size = std::snprintf(line.data(), line.size(), "%s: %s: errno %d%s%.*s", type_, what, error_, length > 0 ? ": " : "",
                                       static_cast<int>(length), said.data());
        if (size > 0) {
            std::string_view view(line.data(), std::min(static_cast<std::size_t>(size), line.size() - 1));
            while (!view.empty() && view.back() == '\n') {
                view.remove_suffix(1);
            }
            log::warning(view);
        }
    }

    const char* type_;
    int error_ = 0;
    Fd fd_;
};

Result<void> change_mount(int mount, mount_attr change) {
    return checked(::mount_setattr(mount, "", AT_EMPTY_PATH, &change, sizeof change));
}

Result<Fd> open_at(int directory, const char* path, int flags, std::uint32_t mode, std::uint64_t resolve) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
    how.mode = mode;
    how.resolve = resolve;
    return checked_fd(::syscall(SYS_openat2, directory, path, &how, sizeof how));
}

constexpr auto kNoSwap = "noswap";

bool is_tmpfs_size(std::uint64_t size_bytes, std::uint64_t inodes) {
    return size_bytes != 0 && size_bytes <= INT64_MAX && inodes != 0;
}

Result<void> check_tmpfs(int root, std::uint64_t size_bytes, std::uint64_t inodes) {
    struct statfs taken{};
    if (::fstatfs(root, &taken) < 0) {
        return last_errno();
    }
    const auto page = static_cast<std::uint64_t>(taken.f_bsize);
    const std::uint64_t pages = size_bytes / page + (size_bytes % page != 0 ? 1 : 0);
    return taken.f_blocks == pages && taken.f_files == inodes ? Result<void>() : std::unexpected(EOVERFLOW);
}

} // namespace

Result<Fd> make_tmpfs(const TmpfsOptions& options, Attributes attributes) {
    if (!is_tmpfs_size(options.size_bytes, options.inodes) || options.mode > 07777) {
        return std::unexpected(EINVAL);
    }
    Context context("tmpfs");
    context.number("size", options.size_bytes)
        .number("nr_inodes", options.inodes)
        .number("mode", options.mode, "%llo")
        .number("uid", options.uid)
        .number("gid", options.gid);
    if (options.swap == Swap::Never) {
        context.flag(kNoSwap);
    }
    if (options.context != nullptr) {
        context.text("context", options.context);
    }
    auto made = context.mount(bits_of(attributes));
    if (!made) {
        return made;
    }
    const auto held = check_tmpfs(made->get(), options.size_bytes, options.inodes);
    return held ? std::move(made) : std::unexpected(held.error());
}

Result<bool> tmpfs_can_avoid_swap() {
    // Not a Context: where the kernel does not know the option it is no failure, and not worth a line in the log each time
    const Fd context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
    if (!context.valid()) {
        return last_errno();
    }
    if (::fsconfig(context.get(), FSCONFIG_SET_FLAG, kNoSwap, nullptr, 0) == 0) {
        return true;
    }
    return errno == EINVAL ? Result<bool>(false) : last_errno();
}

Result<void> resize_tmpfs(int root, std::uint64_t size_bytes, std::uint64_t inodes) {
    if (!is_tmpfs_size(size_bytes, inodes)) {
        return std::unexpected(EINVAL);
    }
    Context context("tmpfs", root);
    if (auto changed = context.number("size", size_bytes).number("nr_inodes", inodes).reconfigure(); !changed) {
        return changed;
    }
    return check_tmpfs(root, size_bytes, inodes);
}

Result<Fd> make_devpts(std::uint32_t uid, std::uint32_t gid) {
    return Context("devpts")
        .number("uid", uid)
        .number("gid", gid)
        .text("mode", "0620")
        .text("ptmxmode", "0666")
        .mount(bits_of(Attributes::NoSuidNoExec));
}

Result<Fd> make_proc(HidePid hide, Attributes attributes, ProcParts parts) {
    Context context("proc");
    if (parts == ProcParts::Pids) {
        context.text("subset", "pid");
    }
    if (hide == HidePid::Ptraceable) {
        context.text("hidepid", "ptraceable");
    }
    return context.mount(bits_of(attributes));
}

Result<Fd> make_ext4(const char* device, bool read_only) {
    Context context("ext4");
    // A file system that finds itself broken stops taking writes; the default of mkfs is to carry on.
    context.text("source", device).text("errors", "remount-ro");
    if (read_only) {
        context.flag("ro");
    }
    return context.mount(bits_of(read_only ? Attributes::ReadOnlyNoSuidNoDev : Attributes::NoSuidNoDev));
}

Result<Fd> clone_mount(int directory, const char* name) {
    const unsigned empty = name[0] == '\0' ? AT_EMPTY_PATH : 0;
    return checked_fd(::open_tree(directory, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW | empty));
}

Result<void> set_attributes(int mount, Attributes attributes) {
    return change_mount(mount, {.attr_set = bits_of(attributes)});
}

Result<void> replace_attributes(int mount, Attributes attributes) {
    constexpr std::uint64_t kAll = kNoSuidNoDev | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY;
    return change_mount(mount, {.attr_set = bits_of(attributes), .attr_clr = kAll & ~bits_of(attributes)});
}

Result<void> make_read_only(int mount) {
    return change_mount(mount, {.attr_set = MOUNT_ATTR_RDONLY});
}

Result<void> idmap_mount(int mount, int user_namespace) {
    return change_mount(mount, {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = static_cast<std::uint64_t>(user_namespace)});
}

Result<void> move_mount_to(int mount, int directory, const char* name) {
    const unsigned onto = name[0] == '\0' ? MOVE_MOUNT_T_EMPTY_PATH : 0;
    return checked(::move_mount(mount, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH | onto));
}

Result<void> detach_mount(const char* path) {
    return checked(::umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW));
}

Result<Fd> open_beneath(int directory, const char* name, int flags, std::uint32_t mode) {
    const std::string_view component(name);
    if (component.empty() || component == "." || component == ".." || component.find('/') != std::string_view::npos) {
        return std::unexpected(EINVAL);
    }
    return open_at(directory, name, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
}

Result<Fd> open_directory(int directory) {
    return open_at(directory, ".", O_RDONLY | O_DIRECTORY, 0,
                   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
}

Result<Fd> open_path(const char* path, int flags) {
    return open_at(AT_FDCWD, path, flags, 0, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

} // namespace joblet::kernel
