#include "broker-root/jobletd/directories.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "shared/fd.h"

namespace joblet::jobletd {

namespace {

constexpr mode_t kPermissions = 07777;
constexpr mode_t kWritableByOthers = 0022;
constexpr mode_t kAncestorMode = 0755;

struct Directory {
    std::string path;
    mode_t mode = 0;
    ApiUser owner{};
};

std::string errno_sentence(std::string_view what, const std::string& path) {
    return fmt::format("could not {} {}: {}", what, path, std::strerror(errno));
}

// One component below `parent`, made if it is missing. Never follows a symbolic link.
std::expected<Fd, std::string> enter(int parent, const std::string& name, const std::string& path, mode_t mode, ApiUser owner) {
    bool made = false;
    if (::mkdirat(parent, name.c_str(), mode) == 0) {
        made = true;
    } else if (errno != EEXIST) {
        return std::unexpected(errno_sentence("make the directory", path));
    }
    Fd directory(::openat(parent, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory.valid()) {
        if (errno == ENOTDIR || errno == ELOOP) {
            return std::unexpected(fmt::format("{} is a symbolic link or no directory; give the real path of a directory", path));
        }
        return std::unexpected(errno_sentence("open the directory", path));
    }
    if (made) {
        // The umask had its say in mkdirat. Mode before owner: afterwards changing it would need CAP_FOWNER.
        const Fd writable(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!writable.valid() || ::fchmod(writable.get(), mode) != 0 || ::fchown(writable.get(), owner.uid, owner.gid) != 0) {
            return std::unexpected(errno_sentence("set owner and mode of", path));
        }
    }
    return directory;
}

std::expected<void, std::string> check_ancestor(int directory, const std::string& path) {
    struct stat state{};
    if (::fstat(directory, &state) != 0) {
        return std::unexpected(errno_sentence("look at", path));
    }
    if (state.st_uid != 0) {
        return std::unexpected(fmt::format("{} belongs to uid {}, so somebody other than root could replace what lies below it; "
                                           "choose a root in a directory of root's, such as /var/lib",
                                           path, state.st_uid));
    }
    if ((state.st_mode & kWritableByOthers) != 0) {
        return std::unexpected(fmt::format("{} is writable by others than root (mode {:04o}); choose a root in a directory that only "
                                           "root can write to, such as /var/lib",
                                           path, state.st_mode & kPermissions));
    }
    return {};
}

std::expected<void, std::string> check_own(int directory, const Directory& wanted) {
    struct stat state{};
    if (::fstat(directory, &state) != 0) {
        return std::unexpected(errno_sentence("look at", wanted.path));
    }
    if (state.st_uid != wanted.owner.uid) {
        return std::unexpected(fmt::format("{} belongs to uid {} instead of {}; if that is meant, run: chown -R {}:{} {}", wanted.path,
                                           state.st_uid, wanted.owner.uid, wanted.owner.uid, wanted.owner.gid, wanted.path));
    }
    if ((state.st_mode & kPermissions & ~wanted.mode) != 0) {
        return std::unexpected(fmt::format("{} has mode {:04o}, which is more open than {:04o}; run: chmod {:04o} {}", wanted.path,
                                           state.st_mode & kPermissions, wanted.mode, wanted.mode, wanted.path));
    }
    return {};
}

std::expected<void, std::string> make_directory(const Directory& wanted) {
    Fd current(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!current.valid()) {
        return std::unexpected(errno_sentence("open", "/"));
    }
    std::string path;
    std::string_view rest = std::string_view(wanted.path).substr(1);
    while (!rest.empty()) {
        if (auto good = check_ancestor(current.get(), path.empty() ? "/" : path); !good) {
            return good;
        }
        const auto slash = rest.find('/');
        const std::string name(rest.substr(0, slash));
        rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
        path += "/" + name;
        const bool last = rest.empty();
        auto next = enter(current.get(), name, path, last ? wanted.mode : kAncestorMode, last ? wanted.owner : ApiUser{});
        if (!next) {
            return std::unexpected(std::move(next.error()));
        }
        current = std::move(*next);
    }
    return check_own(current.get(), wanted);
}

struct CloseFile {
    void operator()(std::FILE* file) const {
        (void)std::fclose(file); // NOLINT(cppcoreguidelines-owning-memory): this is the owner
    }
};

} // namespace

std::expected<ApiUser, std::string> find_api_user(const Layout& layout, const uid_t* uid) {
    if (uid != nullptr) {
        return ApiUser{*uid, *uid};
    }
    const std::unique_ptr<std::FILE, CloseFile> file(std::fopen("/etc/passwd", "re"));
    while (file) {
        const passwd* const entry = ::fgetpwent(file.get());
        if (entry == nullptr) {
            break;
        }
        if (std::string_view(entry->pw_name) != "joblet") {
            continue;
        }
        if (entry->pw_uid == 0 || entry->pw_gid == 0) {
            return std::unexpected("the user 'joblet' of /etc/passwd has the uid or gid of root; give it ids of its own");
        }
        return ApiUser{entry->pw_uid, entry->pw_gid};
    }
    if (layout.root.empty()) {
        return std::unexpected("there is no user 'joblet' to run joblet-api as; make it with: useradd --system --no-create-home "
                               "--shell /usr/sbin/nologin joblet, or give --api-uid N");
    }
    return ApiUser{kFallbackApiUid, kFallbackApiUid};
}

std::expected<void, std::string> make_directories(const Layout& layout, ApiUser api) {
    const std::vector<Directory> directories = {
        {layout.configuration(), 0755},
        {layout.state(), 0711},
        {layout.state() + "/volumes", 0700},
        {layout.state() + "/trash", 0700},
        {layout.state() + "/staging", 0700},
        {layout.state() + "/api", 0700, api},
        {layout.state() + "/bases", 0755},
        {layout.jobs(), 0711},
        {layout.runtime(), 0755},
        {layout.running_jobs(), 0700},
        {layout.logs(), 0750},
    };
    for (const auto& directory : directories) {
        if (auto made = make_directory(directory); !made) {
            return made;
        }
    }
    return {};
}

} // namespace joblet::jobletd
