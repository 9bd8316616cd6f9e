#include "broker-root/kernel/record_io.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "broker-root/kernel/mount.h"

namespace joblet::kernel {
namespace {

Result<void> checked(long result) {
    if (result < 0) {
        return last_errno();
    }
    return {};
}

Result<void> write_all(int file, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(file, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return written < 0 ? last_errno() : std::unexpected(EIO);
        }
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
}

} // namespace

Result<std::size_t> read_file(int file, std::span<std::byte> buffer) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        const ssize_t got = ::pread(file, buffer.data() + filled, buffer.size() - filled, static_cast<off_t>(filled));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return last_errno();
        }
        if (got == 0) {
            break;
        }
        filled += static_cast<std::size_t>(got);
    }
    return filled;
}

Result<void> replace_file(int directory, const char* name, const char* temporary, std::span<const std::byte> bytes, Durability durability) {
    const auto file = open_beneath(directory, temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!file) {
        return std::unexpected(file.error());
    }
    auto done = write_all(file->get(), bytes);
    if (done && durability == Durability::Synced) {
        done = sync_to_disk(file->get());
    }
    return done ? checked(::renameat(directory, temporary, directory, name)) : done;
}

Result<void> sync_to_disk(int fd) {
    return checked(::fsync(fd));
}

Result<void> sync_file_system(int fd) {
    return checked(::syncfs(fd));
}

Result<void> make_mount_point(int parent, const char* name) {
    return checked(::mkdirat(parent, name, 0700));
}

Result<void> make_directory(int parent, const char* name, std::uint32_t mode) {
    if (::mkdirat(parent, name, mode & 0700U) < 0) {
        return last_errno();
    }
    const auto made = open_beneath(parent, name, O_RDONLY | O_DIRECTORY);
    if (!made) {
        return std::unexpected(made.error());
    }
    return change_mode(made->get(), mode);
}

Result<void> make_path(int parent, std::string_view path, std::uint32_t mode) {
    Fd holder;
    while (!path.empty()) {
        const std::string name(path.substr(0, path.find('/')));
        path.remove_prefix(std::min(name.size() + 1, path.size()));
        if (const auto made = make_directory(parent, name.c_str(), mode); !made && made.error() != EEXIST) {
            return made;
        }
        auto next = open_beneath(parent, name.c_str(), O_PATH | O_DIRECTORY);
        if (!next) {
            return std::unexpected(next.error());
        }
        holder = std::move(*next);
        parent = holder.get();
    }
    return {};
}

Result<std::vector<std::string>> list_directory(int directory) {
    if (::lseek(directory, 0, SEEK_SET) < 0) {
        return last_errno();
    }
    std::vector<std::string> names;
    alignas(dirent64) std::array<char, 16384> buffer{};
    for (;;) {
        const long size = ::syscall(SYS_getdents64, directory, buffer.data(), buffer.size());
        if (size < 0) {
            return last_errno();
        }
        if (size == 0) {
            return names;
        }
        for (long at = 0; at < size;) {
            const auto* const entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
            const std::string_view name(&entry->d_name[0]);
            if (name != "." && name != "..") {
                names.emplace_back(name);
            }
            at += entry->d_reclen;
        }
    }
}

Result<void> remove_file(int directory, const char* name) {
    if (::unlinkat(directory, name, 0) < 0 && errno != ENOENT) {
        return last_errno();
    }
    return {};
}

Result<void> remove_directory(int parent, const char* name) {
    return checked(::unlinkat(parent, name, AT_REMOVEDIR));
}

Result<void> rename_into(int from, int to, const char* name) {
    return checked(::renameat2(from, name, to, name, RENAME_NOREPLACE));
}

Result<void> replace_by(int from, int to, const char* name) {
    return checked(::renameat(from, name, to, name));
}

Result<void> make_symlink(int directory, const char* name, const char* target) {
    return checked(::symlinkat(target, directory, name));
}

Result<bool> symlink_says(int directory, const char* name, const char* target) {
    std::array<char, 64> said{};
    const ssize_t size = ::readlinkat(directory, name, said.data(), said.size());
    if (size < 0) {
        return last_errno();
    }
    return std::string_view(said.data(), static_cast<std::size_t>(size)) == target;
}

Result<void> make_character_device(int directory, const char* name, unsigned major, unsigned minor, std::uint32_t mode) {
    if (::mknodat(directory, name, S_IFCHR, makedev(major, minor)) < 0) {
        return last_errno();
    }
    return checked(::fchmodat(directory, name, mode, 0));
}

Result<struct stat> status_of(int fd) {
    struct stat status{};
    if (::fstat(fd, &status) < 0) {
        return last_errno();
    }
    return status;
}

Result<struct stat> status_beneath(int directory, const char* name) {
    struct stat status{};
    if (::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
        return last_errno();
    }
    return status;
}

Result<void> change_owner(int fd, std::uint32_t uid, std::uint32_t gid) {
    return checked(::fchownat(fd, "", uid, gid, AT_EMPTY_PATH));
}

Result<void> change_mode(int fd, std::uint32_t mode) {
    return checked(::fchmod(fd, mode));
}

Result<void> preallocate(int file, std::uint64_t bytes) {
    int result = -1;
    do {
        result = ::fallocate(file, 0, 0, static_cast<off_t>(bytes));
    } while (result < 0 && errno == EINTR);
    return checked(result);
}

Result<void> set_length(int file, std::uint64_t bytes) {
    return checked(::ftruncate(file, static_cast<off_t>(bytes)));
}

Result<SpaceInUse> space_in_use(int mount) {
    struct statfs status{};
    if (::fstatfs(mount, &status) < 0) {
        return last_errno();
    }
    const auto block = static_cast<std::uint64_t>(status.f_bsize);
    const std::uint64_t used = status.f_blocks - status.f_bfree;
    return SpaceInUse{.bytes = used * block,
                      .bytes_limit = (used + status.f_bavail) * block, // ext4 keeps some free blocks to itself
                      .inodes = status.f_files - status.f_ffree,
                      .inodes_limit = status.f_files,
                      .block_size = block,
                      .magic = static_cast<std::uint64_t>(status.f_type)};
}

Result<FreeSpace> free_space(int mount) {
    struct statfs status{};
    if (::fstatfs(mount, &status) < 0) {
        return last_errno();
    }
    return FreeSpace{status.f_bavail * static_cast<std::uint64_t>(status.f_bsize), status.f_ffree};
}

Result<std::uint32_t> file_system_type(int fd) {
    struct statfs status{};
    if (::fstatfs(fd, &status) < 0) {
        return last_errno();
    }
    return static_cast<std::uint32_t>(status.f_type);
}

Result<void> try_lock(int file, LockKind kind) {
    int result = -1;
    do {
        result = ::flock(file, (kind == LockKind::Exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
    } while (result < 0 && errno == EINTR);
    return checked(result);
}

} // namespace joblet::kernel
