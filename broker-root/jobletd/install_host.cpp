#include "broker-root/jobletd/install_host.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "broker-root/jobletd/base_files.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "shared/fd.h"
#include "shared/log.h"

namespace joblet::jobletd {

namespace {

using Outcome = std::expected<void, std::string>;
using Kind = HostBaseRow::Kind;

constexpr const char* kName = "host";
constexpr const char* kUnfinished = "unfinished"; // beside etc, so that no job sees it
constexpr std::size_t kCopyMax = std::size_t{4} << 20U;
constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kFileMode = 0644;
constexpr mode_t kPermissions = 07777;

constexpr auto kRows = std::to_array<HostBaseRow>({
    {"etc", Kind::Directory, "", "is mounted as the job's etc"},
    {"etc/passwd", Kind::Text, kPasswd, "names and homes of the ids that a job has; the host's own would name its users"},
    {"etc/group", Kind::Text, kGroup, "likewise"},
    {"etc/nsswitch.conf", Kind::Text, "passwd: files\ngroup: files\nhosts: files dns\n",
     "no service of the host is asked: its sockets are not in the job"},
    {"etc/hosts", Kind::Text, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n", "localhost without a name server"},
    {"etc/resolv.conf", Kind::Copy, "/etc/resolv.conf", "name servers, for jobs that have the host's network"},
    {"etc/ld.so.cache", Kind::Copy, "/etc/ld.so.cache", "programs find libraries outside of the loader's own directories"},
    {"etc/localtime", Kind::Copy, "/etc/localtime", "programs print times as the host does"},
    {"etc/ssl", Kind::Directory, "", "holds certs"},
    {"etc/ssl/certs", Kind::Directory, "", "mount point: the host's certificates, so that servers can be trusted"},
    {"etc/alternatives", Kind::Directory, "", "mount point: links in the host's usr lead through it to the programs"},
    {"etc/os-release", Kind::Link, "../usr/lib/os-release", "installers ask which system this is; it is the host's usr"},
});

Outcome failed(std::string_view what, std::string_view path, int error) {
    return std::unexpected(fmt::format("could not {} {} of the host base: {}", what, path, std::strerror(error)));
}

// Also through a symbolic link: localtime and resolv.conf are links as often as not, and they are root's. Bounded, and never a
// device or a pipe.
std::optional<std::string> read_host_file(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    const auto status = file.valid() ? kernel::status_of(file.get()) : std::unexpected(errno);
    if (!status || !S_ISREG(status->st_mode)) {
        return std::nullopt;
    }
    std::string text(kCopyMax + 1, '\0');
    const auto size = kernel::read_file(file.get(), std::as_writable_bytes(std::span(text)));
    if (!size || *size > kCopyMax) {
        log::warning(fmt::format("{} is not in the host base: {}", path, size ? "it is larger than 4 MiB" : std::strerror(size.error())));
        return std::nullopt;
    }
    text.resize(*size);
    return text;
}

// A row, and what its file is to hold; none: it is left out.
struct Wanted {
    const HostBaseRow* row = nullptr;
    std::string text;
};

std::vector<Wanted> read_rows() {
    std::vector<Wanted> out;
    for (const auto& row : kRows) {
        if (row.kind != Kind::Copy) {
            out.push_back({&row, std::string(row.says)});
        } else if (auto text = read_host_file(std::string(row.says))) {
            out.push_back({&row, std::move(*text)});
        }
    }
    return out;
}

// A path of a row, as the directory that it is in and its name there. The directory's own row came before.
struct Place {
    Fd parent;
    std::string name;
};

kernel::Result<Place> find_place(int base, std::string_view path) {
    Place out{.parent = Fd(::fcntl(base, F_DUPFD_CLOEXEC, 0)), .name = {}};
    for (auto slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/')) {
        auto next = kernel::open_beneath(out.parent.get(), std::string(path.substr(0, slash)).c_str(), O_RDONLY | O_DIRECTORY);
        if (!next) {
            return std::unexpected(next.error());
        }
        out.parent = std::move(*next);
        path.remove_prefix(slash + 1);
    }
    out.name = path;
    return out;
}

bool has_text(const Place& place, const std::string& text) {
    const auto file = kernel::open_beneath(place.parent.get(), place.name.c_str(), O_RDONLY | O_NONBLOCK);
    std::string found(text.size() + 1, '\0'); // one more, so that a longer file is seen to be longer
    const auto size = file ? kernel::read_file(file->get(), std::as_writable_bytes(std::span(found))) : std::unexpected(file.error());
    return size && std::string_view(found).substr(0, *size) == text;
}

bool is_as_wanted(const Place& place, const Wanted& wanted) {
    const auto status = kernel::status_beneath(place.parent.get(), place.name.c_str());
    if (!status || status->st_uid != ::geteuid()) {
        return false;
    }
    const mode_t mode = status->st_mode & kPermissions;
    switch (wanted.row->kind) {
    case Kind::Directory:
        return S_ISDIR(status->st_mode) && mode == kDirectoryMode;
    case Kind::Link:
        return S_ISLNK(status->st_mode) && kernel::symlink_says(place.parent.get(), place.name.c_str(), wanted.text.c_str()) == true;
    case Kind::Text:
    case Kind::Copy:
        break;
    }
    return S_ISREG(status->st_mode) && mode == kFileMode && has_text(place, wanted.text);
}

kernel::Result<void> make_unfinished(int base, const Wanted& wanted) {
    switch (wanted.row->kind) {
    case Kind::Directory:
        return kernel::make_directory(base, kUnfinished, kDirectoryMode);
    case Kind::Link:
        return kernel::make_symlink(base, kUnfinished, wanted.text.c_str());
    case Kind::Text:
    case Kind::Copy:
        break;
    }
    return write_new_file(base, kUnfinished, wanted.text);
}

kernel::Result<void> put(int base, const Place& place, const Wanted& wanted) {
    auto done = remove_tree(base, kUnfinished);
    if (done) {
        done = make_unfinished(base, wanted);
    }
    if (!done) {
        return done;
    }
    if (::renameat(base, kUnfinished, place.parent.get(), place.name.c_str()) == 0) {
        return {};
    }
    // Of the other kind, or a directory with something in it: nothing of ours
    if (auto removed = remove_tree(place.parent.get(), place.name.c_str()); !removed) {
        return removed;
    }
    return ::renameat(base, kUnfinished, place.parent.get(), place.name.c_str()) == 0 ? kernel::Result<void>() : kernel::last_errno();
}

// What lies in a directory of ours and is no row.
Outcome remove_strange(int base, const std::vector<Wanted>& all, std::string_view directory) {
    const std::string prefix = directory.empty() ? "" : std::string(directory) + "/";
    const auto place = find_place(base, prefix + "."); // its parent is the directory
    const auto names = place ? kernel::list_directory(place->parent.get()) : std::unexpected(place.error());
    if (!names) {
        return failed("list", directory, names.error());
    }
    for (const auto& name : *names) {
        if (std::ranges::any_of(all, [&](const Wanted& one) { return one.row->path == prefix + name; })) {
            continue;
        }
        if (const auto removed = remove_tree(place->parent.get(), name.c_str()); !removed) {
            return failed("remove", prefix + name, removed.error());
        }
    }
    return {};
}

std::expected<Fd, std::string> open_base(const Layout& layout) {
    const std::string path = layout.state() + "/bases";
    const Fd bases(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!bases.valid()) {
        return std::unexpected(fmt::format("could not open {}: {}", path, std::strerror(errno)));
    }
    if (const auto made = kernel::make_directory(bases.get(), kName, kDirectoryMode); !made && made.error() != EEXIST) {
        return std::unexpected(fmt::format("could not make {}/{}: {}", path, kName, std::strerror(made.error())));
    }
    auto base = kernel::open_beneath(bases.get(), kName, O_RDONLY | O_DIRECTORY);
    const auto status = base ? kernel::status_of(base->get()) : std::unexpected(base.error());
    if (!status || status->st_uid != ::geteuid() || (status->st_mode & 0022) != 0) {
        return std::unexpected(fmt::format("{}/{} is no directory that only root can write to; move it away, and a new one is made at the "
                                           "next start",
                                           path, kName));
    }
    return std::move(*base);
}

} // namespace

std::span<const HostBaseRow> host_base_rows() {
    return kRows;
}

Outcome install_host_base(const Layout& layout) {
    const auto base = open_base(layout);
    if (!base) {
        return std::unexpected(base.error());
    }
    const auto wanted = read_rows();
    for (const auto& one : wanted) {
        const auto place = find_place(base->get(), one.row->path);
        if (!place) {
            return failed("open the directory of", one.row->path, place.error());
        }
        if (is_as_wanted(*place, one)) {
            continue;
        }
        if (const auto done = put(base->get(), *place, one); !done) {
            return failed("make", one.row->path, done.error());
        }
    }
    auto cleared = remove_strange(base->get(), wanted, "");
    for (const auto& one : wanted) {
        if (cleared && one.row->kind == Kind::Directory) {
            cleared = remove_strange(base->get(), wanted, one.row->path);
        }
    }
    return cleared;
}

} // namespace joblet::jobletd
