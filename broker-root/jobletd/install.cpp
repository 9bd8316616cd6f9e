#include "broker-root/jobletd/install.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "broker-root/jobletd/base_files.h"
#include "shared/fd.h"

namespace joblet::jobletd {

namespace {

using Outcome = std::expected<void, std::string>;

constexpr const char* kBusybox = "/bin/busybox";
constexpr const char* kName = "minimal";
constexpr const char* kUnfinished = "minimal.new";
constexpr std::string_view kHint = "install the package busybox-static";
// The base's share of a job's root (its other directories are mounts), and where a path of a program may lead
constexpr std::array kDirectories = {"bin", "sbin", "lib", "lib64", "etc", "usr", "usr/bin", "usr/sbin", "usr/lib"};

std::unexpected<std::string> failed(std::string_view what) {
    return std::unexpected(fmt::format("could not {} of the minimal base: {}", what, std::strerror(errno)));
}

Outcome write_text(int base, const char* name, std::string_view text) {
    if (const auto written = write_new_file(base, name, text); !written) {
        errno = written.error();
        return failed(fmt::format("write {}", name));
    }
    return {};
}

Outcome copy_busybox(int base) {
    const Fd source(::open(kBusybox, O_RDONLY | O_CLOEXEC));
    struct stat state{};
    if (!source.valid() || ::fstat(source.get(), &state) != 0) {
        return std::unexpected(
            fmt::format("{} is needed for the minimal base, and could not be opened ({}); {}", kBusybox, std::strerror(errno), kHint));
    }
    if (!S_ISREG(state.st_mode) || state.st_uid != 0 || (state.st_mode & 0022) != 0) {
        return std::unexpected(fmt::format("{} is no regular file that only root can write to; {}", kBusybox, kHint));
    }
    const Fd copy(::openat(base, "bin/busybox", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0755));
    if (!copy.valid()) {
        return failed("make bin/busybox");
    }
    for (off_t left = state.st_size; left > 0;) {
        const ssize_t moved = ::sendfile(copy.get(), source.get(), nullptr, static_cast<std::size_t>(left));
        if (moved <= 0) {
            return failed("copy bin/busybox");
        }
        left -= moved;
    }
    return ::fsync(copy.get()) == 0 ? Outcome{} : failed("write bin/busybox");
}

enum class Inside : std::uint8_t { Directory, Chroot };

// Runs the copied busybox with the base as its working directory, or as its root. True if it exits with 0.
bool run_busybox(int base, Inside inside, const char* program, const std::array<const char*, 4>& words) {
    const pid_t child = ::fork();
    if (child == 0) {
        const std::array<const char*, 1> environment = {nullptr};
        if (::fchdir(base) != 0 || (inside == Inside::Chroot && ::chroot(".") != 0)) {
            ::_exit(126);
        }
        // execve(2) changes none of it; its declaration is older than const
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
        ::execve(program, const_cast<char* const*>(words.data()), const_cast<char* const*>(environment.data()));
        ::_exit(127);
    }
    int status = -1;
    return child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

Outcome fill(int base) {
    for (const char* const directory : kDirectories) {
        if (::mkdirat(base, directory, 0755) != 0) {
            return failed(fmt::format("make the directory {}", directory));
        }
    }
    if (auto copied = copy_busybox(base); !copied) {
        return copied;
    }
    // Inside the base there is neither a loader nor a library: this works for a static program only
    if (!run_busybox(base, Inside::Chroot, "/bin/busybox", {"busybox", "true", nullptr, nullptr})) {
        return std::unexpected(fmt::format("{} does not run by itself, so it is not a static program; {} (it replaces the package "
                                           "busybox)",
                                           kBusybox, kHint));
    }
    // One hard link for each of its commands; their number is busybox's own business
    if (!run_busybox(base, Inside::Directory, "bin/busybox", {"busybox", "--install", "bin", nullptr})) {
        return std::unexpected(fmt::format("{} could not install its commands (busybox --install failed); {}", kBusybox, kHint));
    }
    // Scripts begin with #!/usr/bin/env as often as with #!/bin/sh
    if (::linkat(base, "bin/busybox", base, "usr/bin/env", 0) != 0) {
        return failed("link usr/bin/env");
    }
    if (auto written = write_text(base, "etc/passwd", kPasswd); !written) {
        return written;
    }
    return write_text(base, "etc/group", kGroup);
}

} // namespace

Outcome install_minimal_base(const Layout& layout) {
    const std::string path = layout.state() + "/bases";
    const Fd bases(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!bases.valid()) {
        return failed("open the directory");
    }
    struct stat state{};
    if (::fstatat(bases.get(), kName, &state, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!S_ISDIR(state.st_mode) || state.st_uid != 0 || (state.st_mode & 0022) != 0) {
            return std::unexpected(fmt::format("{}/{} is no directory that only root can write to; move it away, and a new one is made at "
                                               "the next start",
                                               path, kName));
        }
        return {};
    }
    if (errno != ENOENT) {
        return failed("look at the directory");
    }
    if (const auto removed = remove_tree(bases.get(), kUnfinished); !removed) {
        errno = removed.error();
        return failed("remove the unfinished copy");
    }
    if (::mkdirat(bases.get(), kUnfinished, 0755) != 0) {
        return failed("make the directory");
    }
    const Fd base(::openat(bases.get(), kUnfinished, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!base.valid()) {
        return failed("open the directory");
    }
    if (auto filled = fill(base.get()); !filled) {
        return filled;
    }
    // Everything on disk before the name appears: a base that is there is complete
    if (::syncfs(base.get()) != 0) {
        return failed("write the files");
    }
    if (::renameat(bases.get(), kUnfinished, bases.get(), kName) != 0 || ::fsync(bases.get()) != 0) {
        return failed("put in place the directory");
    }
    return {};
}

} // namespace joblet::jobletd
