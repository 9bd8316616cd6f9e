#include "broker-root/worker/bases.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include <fmt/format.h>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/base_entries.h"
#include "broker-root/worker/orders.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::Attributes;
using Checked = std::expected<void, std::string>;
using Sentence = std::unexpected<std::string>;

constexpr auto kReadOnly = Attributes::ReadOnlyNoSuidNoDev;
constexpr mode_t kPermissions = 07777;
// What the host base shows of the host's etc, on an empty directory of that name in its own: they lead to and from usr, and say
// nothing about the host's users.
constexpr std::array kHostEtc = {"ssl/certs", "alternatives"};

Sentence is_a_link(std::string_view path) {
    return Sentence(fmt::format("{} is a symbolic link; give the real path, and have the directory itself there", path));
}

Sentence is_no_directory(std::string_view path) {
    return Sentence(fmt::format("{} is no directory", path));
}

Sentence others_write(std::string_view path, const struct stat& status) {
    if (status.st_uid != 0) {
        return Sentence(fmt::format("{} belongs to uid {}, who could change what jobs execute; give it to root", path, status.st_uid));
    }
    return Sentence(fmt::format("{} is writable by others than root (mode {:04o}), who could change what jobs execute; run: chmod go-w {}",
                                path, status.st_mode & kPermissions, path));
}

// The directory itself and all above it, from the top: what lies below a directory that only root can write to stays what it is.
Checked check_way_to(const std::string& path) {
    for (std::size_t end = 0;; end = path.find('/', end + 1)) {
        const bool is_last = end == std::string::npos;
        const std::string part = end == 0 ? "/" : path.substr(0, end);
        const auto opened = kernel::open_path(part.c_str(), O_PATH);
        const auto status = opened ? kernel::status_of(opened->get()) : std::unexpected(opened.error());
        if (!status) {
            return could_not("open the directory", part, status.error());
        }
        if (!S_ISDIR(status->st_mode)) {
            return S_ISLNK(status->st_mode) ? is_a_link(part) : is_no_directory(part);
        }
        // In a sticky directory nobody can replace what is root's; above a base that is enough
        const bool keeps_roots = !is_last && status->st_uid == 0 && (status->st_mode & S_ISVTX) != 0;
        if (!is_roots_alone(*status) && !keeps_roots) {
            return others_write(part, *status);
        }
        if (is_last) {
            return {};
        }
    }
}

Checked check_entry(int base, const std::string& path, const char* name) {
    const std::string whole = path + (path == "/" ? "" : "/") + name;
    switch (look_at_base_entry(base, name)) {
    case BaseEntry::Missing:
    case BaseEntry::Directory:
    case BaseEntry::MergedLink:
        return {};
    case BaseEntry::StrayLink:
        return is_a_link(whole);
    case BaseEntry::NoDirectory:
        return is_no_directory(whole);
    case BaseEntry::OthersWrite:
        break;
    }
    const auto status = kernel::status_beneath(base, name);
    return status ? others_write(whole, *status) : could_not("look at", whole, status.error());
}

std::expected<ClonedBase, std::string> clone_plain(const Base& base) {
    auto piece = clone_piece(base.directory, kReadOnly);
    if (!piece) {
        return Sentence(std::move(piece.error()));
    }
    for (const char* const entry : kBaseEntries) {
        auto good = check_not_mounted_over(piece->get(), base.directory, entry);
        if (good) {
            good = check_entry(piece->get(), base.directory, entry);
        }
        if (!good) {
            return Sentence(std::move(good.error()));
        }
    }
    for (const char* const entry : kJobEntries) {
        if (auto good = check_entry(piece->get(), base.directory, entry); !good) {
            return Sentence(std::move(good.error()));
        }
    }
    ClonedBase out;
    out.pieces.push_back({"", std::move(*piece)});
    return out;
}

// bin, sbin, lib, lib64 and usr, as the host has them.
Checked clone_host_programs(ClonedBase& out) {
    const auto root = kernel::open_path("/", O_PATH | O_DIRECTORY);
    if (!root) {
        return could_not("open", "/", root.error());
    }
    for (const char* const entry : kBaseEntries) {
        if (std::string_view(entry) == "etc") {
            continue; // not the host's
        }
        if (auto good = check_entry(root->get(), "/", entry); !good) {
            return good;
        }
        const auto kind = look_at_base_entry(root->get(), entry);
        if (kind == BaseEntry::MergedLink) {
            out.links.emplace_back(entry, std::string("usr/") + entry);
        } else if (kind == BaseEntry::Directory) {
            auto piece = clone_piece(std::string("/") + entry, kReadOnly);
            if (!piece) {
                return Sentence(std::move(piece.error()));
            }
            out.pieces.push_back({entry, std::move(*piece)});
        }
    }
    return {};
}

// One of kHostEtc. What the host does not have so that it could be shown is left out: programs work without it.
void clone_host_etc(const char* name, ClonedBase& out) {
    const std::string path = std::string("/etc/") + name;
    if (const auto there = kernel::open_path(path.c_str(), O_PATH); !there && there.error() == ENOENT) {
        return;
    }
    auto good = check_way_to(path);
    auto piece = good ? clone_piece(path, kReadOnly) : Sentence(std::move(good.error()));
    if (!piece) {
        log::warning(fmt::format("the host's {} is not shown in jobs on its base: {}", path, piece.error()));
        return;
    }
    const std::string inside = std::string("etc/") + name;
    out.inner.push_back(inside);
    out.pieces.push_back({inside, std::move(*piece)});
}

std::expected<ClonedBase, std::string> clone_host(const Base& base) {
    const std::string etc = base.directory + "/etc";
    ClonedBase out;
    if (auto cloned = clone_host_programs(out); !cloned) {
        return Sentence(std::move(cloned.error()));
    }
    if (auto good = check_way_to(etc); !good) {
        return Sentence(std::move(good.error()));
    }
    auto own = clone_piece(etc, kReadOnly);
    if (!own) {
        return Sentence(std::move(own.error()));
    }
    out.pieces.push_back({"etc", std::move(*own)});
    for (const char* const name : kHostEtc) {
        if (auto good = check_way_to(etc + "/" + name); !good) {
            return Sentence(std::move(good.error()));
        }
        clone_host_etc(name, out);
    }
    return out;
}

// Pieces were named below the base so far.
ClonedBase place_at(ClonedBase base, std::string name, std::string at) {
    for (auto& piece : base.pieces) {
        piece.at = piece.at.empty() ? at : at + "/" + piece.at;
    }
    base.name = std::move(name);
    base.at = std::move(at);
    return base;
}

} // namespace

std::expected<ClonedBase, std::string> clone_base(const std::string& name, const Base& base, std::string at) {
    if (auto good = check_way_to(base.directory); !good) {
        return Sentence(std::move(good.error()));
    }
    auto cloned = base.is_host ? clone_host(base) : clone_plain(base);
    if (!cloned) {
        return cloned;
    }
    return place_at(std::move(*cloned), name, std::move(at));
}

std::expected<ClonedBase, std::string> clone_system_base(std::string at) {
    auto usr = clone_piece("/usr", kReadOnly);
    if (!usr) {
        return Sentence(std::move(usr.error()));
    }
    ClonedBase out;
    for (const char* const entry : kMergedEntries) {
        const auto there = kernel::status_beneath(usr->get(), entry);
        if (there && S_ISDIR(there->st_mode)) {
            out.links.emplace_back(entry, std::string("usr/") + entry);
        }
    }
    out.pieces.push_back({"usr", std::move(*usr)});
    return place_at(std::move(out), std::string(kSystemBase), std::move(at));
}

kernel::Result<void> make_base_directory(int root, const ClonedBase& base) {
    auto made = kernel::make_path(root, base.at, 0755);
    for (auto piece = base.pieces.begin(); made && piece != base.pieces.end(); ++piece) {
        const bool is_there = std::ranges::any_of(base.inner, [&](const auto& path) { return piece->at == base.at + "/" + path; });
        if (!is_there) {
            made = kernel::make_path(root, piece->at, 0755);
        }
    }
    if (!made || base.links.empty()) {
        return made;
    }
    const auto directory = kernel::open_beneath(root, base.at.c_str(), O_PATH | O_DIRECTORY);
    if (!directory) {
        return std::unexpected(directory.error());
    }
    for (auto link = base.links.begin(); made && link != base.links.end(); ++link) {
        made = kernel::make_symlink(directory->get(), link->first.c_str(), link->second.c_str());
    }
    return made;
}

} // namespace joblet::worker
