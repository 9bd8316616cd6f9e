#include "broker-root/worker/own_namespace.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/namespace.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/base_entries.h"
#include "broker-root/worker/orders.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::Attributes;
using Sentence = std::unexpected<std::string>;

Sentence could_not(std::string_view what, std::string_view object, int error) {
    return Sentence(fmt::format("could not {} {}: {}", what, object, std::strerror(error)));
}

bool same_object(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// A piece of the host's tree, cloned but not yet attached.
std::expected<Fd, std::string> clone_piece(const std::string& path, Attributes attributes) {
    const auto directory = kernel::open_path(path.c_str(), O_PATH | O_DIRECTORY);
    if (!directory) {
        return could_not("open the directory (no component may be a symbolic link)", path, directory.error());
    }
    auto piece = kernel::clone_mount(directory->get(), "");
    if (!piece) {
        return could_not("clone the mount of", path, piece.error());
    }
    if (const auto set = kernel::set_attributes(piece->get(), attributes); !set) {
        return could_not("restrict the mount of", path, set.error());
    }
    return std::move(*piece);
}

// The clone has no children: what is mounted below `path` on the host is not in it, and the directory underneath would be
// taken for it.
std::expected<void, std::string> check_not_mounted_over(int piece, const std::string& path, const char* name) {
    const auto here = kernel::status_beneath(piece, name);
    const auto host = kernel::open_path((path + "/" + name).c_str(), O_PATH);
    if (!here || !host) {
        return {}; // missing, or a symlink: for the one who needs it to say
    }
    const auto there = kernel::status_of(host->get());
    if (!there || !same_object(*here, *there)) {
        return Sentence(fmt::format("{}/{} is a mount of its own; mount it at {} or above instead", path, name, path));
    }
    return {};
}

std::expected<Fd, std::string> clone_base(const std::string& path) {
    auto piece = clone_piece(path, Attributes::ReadOnlyNoSuidNoDev);
    if (!piece) {
        return piece;
    }
    for (const char* const entry : kBaseEntries) {
        if (auto good = check_not_mounted_over(piece->get(), path, entry); !good) {
            return Sentence(good.error());
        }
    }
    if (const auto refused = unfit_for_base(piece->get()); !refused.empty()) {
        return Sentence(fmt::format("{}/{} is no directory: it is a mount point in a job", path, refused));
    }
    return piece;
}

struct Node {
    const char* name;
    unsigned major; // Documentation/admin-guide/devices.txt of Linux
    unsigned minor;
};
constexpr auto kNodes = std::to_array<Node>({
    {"null", 1, 3},
    {"zero", 1, 5},
    {"full", 1, 7},
    {"random", 1, 8},
    {"urandom", 1, 9},
    {"tty", 5, 0},
});
struct Link {
    const char* name;
    const char* target;
};
constexpr auto kLinks = std::to_array<Link>({
    {"fd", "/proc/self/fd"},
    {"stdin", "/proc/self/fd/0"},
    {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"},
    {"ptmx", "pts/ptmx"},
});

kernel::Result<Fd> make_nodes() {
    auto tree = kernel::make_tmpfs({.size_bytes = 65536, .inodes = 32, .mode = 0755}, Attributes::NoSuidNoExec);
    if (!tree) {
        return tree;
    }
    for (const auto& node : kNodes) {
        if (const auto made = kernel::make_character_device(tree->get(), node.name, node.major, node.minor, 0666); !made) {
            return std::unexpected(made.error());
        }
    }
    for (const auto& link : kLinks) {
        if (const auto made = kernel::make_symlink(tree->get(), link.name, link.target); !made) {
            return std::unexpected(made.error());
        }
    }
    for (const char* const directory : {"shm", "pts"}) {
        if (const auto made = kernel::make_directory(tree->get(), directory, 0755); !made) {
            return std::unexpected(made.error());
        }
    }
    return tree;
}

// What will be attached, by the name of its mount point in the new root.
struct Piece {
    std::string at;
    Fd mount;
};

constexpr auto kStore = "store";
constexpr auto kEnded = "ended";
constexpr auto kRunning = "running";
constexpr auto kDevices = "dev"; // the path that a loop device is mounted by begins with it
constexpr auto kNodesTree = "nodes";
constexpr auto kScratch = "scratch";
constexpr auto kSystem = "system";
constexpr auto kHostUsr = "host-usr";

struct Pieces {
    std::vector<Piece> all;
    std::vector<std::pair<std::string, std::string>> bases; // name, mount point
};

// Everything has to be cloned while the host's tree is in sight.
std::expected<Pieces, std::string> clone_pieces(const Layout& layout, const BrokerConfig& config) {
    struct Wanted {
        const char* at;
        std::string path;
        Attributes attributes;
    };
    const Wanted wanted[] = {
        {kStore, layout.state(), Attributes::NoSuidNoDevNoExec},
        {kEnded, layout.jobs(), Attributes::NoSuidNoDevNoExec},
        {kRunning, layout.running_jobs(), Attributes::NoSuidNoDevNoExec},
        {kDevices, "/dev", Attributes::NoSuidNoExec},
        {kHostUsr, "/usr", Attributes::ReadOnlyNoSuidNoDev},
    };
    Pieces out;
    for (const auto& [at, path, attributes] : wanted) {
        auto piece = clone_piece(path, attributes);
        if (!piece) {
            return Sentence(std::move(piece.error()));
        }
        if (at == kStore) {
            for (const char* const name : {"volumes", "trash", "staging"}) {
                if (auto good = check_not_mounted_over(piece->get(), path, name); !good) {
                    return Sentence(std::move(good.error()));
                }
            }
        }
        out.all.push_back({at, std::move(*piece)});
    }
    for (const auto& [name, path] : config.bases) {
        auto piece = clone_base(path);
        if (!piece) {
            log::warning(fmt::format("the base {} cannot be used: {}", name, piece.error()));
            continue;
        }
        const std::string at = "base" + std::to_string(out.bases.size());
        out.bases.emplace_back(name, at);
        out.all.push_back({at, std::move(*piece)});
    }
    auto nodes = make_nodes();
    if (!nodes) {
        return could_not("make", "the device nodes of jobs", nodes.error());
    }
    out.all.push_back({kNodesTree, std::move(*nodes)});
    return out;
}

// The root of the new namespace, with a mount point for each piece.
kernel::Result<Fd> make_root(const Pieces& pieces) {
    auto root = kernel::make_tmpfs({.size_bytes = 65536, .inodes = 64 + pieces.all.size(), .mode = 0700}, Attributes::NoSuidNoDevNoExec);
    if (!root) {
        return root;
    }
    for (const auto& piece : pieces.all) {
        if (const auto made = kernel::make_directory(root->get(), piece.at.c_str(), 0700); !made) {
            return std::unexpected(made.error());
        }
    }
    for (const char* const extra : {kScratch, kSystem}) {
        if (const auto made = kernel::make_directory(root->get(), extra, 0700); !made) {
            return std::unexpected(made.error());
        }
    }
    return root;
}

// The base of system jobs: usr is a mount point for the host's, and what the host's usr has below it is linked to.
kernel::Result<void> fill_system_base(int root) {
    const auto system = kernel::open_beneath(root, kSystem, O_PATH | O_DIRECTORY);
    const auto host_usr = kernel::open_path((std::string("/") + kHostUsr).c_str(), O_PATH | O_DIRECTORY);
    if (!system || !host_usr) {
        return std::unexpected(!system ? system.error() : host_usr.error());
    }
    for (const char* const entry : kMergedEntries) {
        const auto there = kernel::status_beneath(host_usr->get(), entry);
        if (!there || !S_ISDIR(there->st_mode)) {
            continue;
        }
        if (const auto made = kernel::make_symlink(system->get(), entry, (std::string("usr/") + entry).c_str()); !made) {
            return made;
        }
    }
    if (const auto made = kernel::make_directory(system->get(), "usr", 0755); !made) {
        return made;
    }
    const auto usr = kernel::clone_mount(host_usr->get(), "");
    if (!usr) {
        return std::unexpected(usr.error());
    }
    return kernel::move_mount_to(usr->get(), system->get(), "usr");
}

std::expected<void, std::string> attach(const Pieces& pieces, int proc) {
    const auto root = make_root(pieces);
    if (!root) {
        return could_not("make", "the root of the worker's namespace", root.error());
    }
    if (const auto unshared = kernel::unshare_mounts(proc); !unshared) {
        return could_not("unshare", "the mount namespace", unshared.error());
    }
    if (const auto moved = kernel::move_mount_to(root->get(), AT_FDCWD, "/"); !moved) {
        return could_not("attach", "the root of the worker's namespace", moved.error());
    }
    if (const auto pivoted = kernel::pivot_to(root->get()); !pivoted) {
        return could_not("pivot to", "the root of the worker's namespace", pivoted.error());
    }
    for (const auto& piece : pieces.all) {
        if (const auto moved = kernel::move_mount_to(piece.mount.get(), root->get(), piece.at.c_str()); !moved) {
            return could_not("attach", piece.at, moved.error());
        }
    }
    if (const auto filled = fill_system_base(root->get()); !filled) {
        return could_not("make", "the base of system jobs", filled.error());
    }
    if (const auto read_only = kernel::make_read_only(root->get()); !read_only) {
        return could_not("make read-only", "the root of the worker's namespace", read_only.error());
    }
    return {};
}

// Root's, and nobody else may change it: else somebody could have put something in its place.
std::expected<Fd, std::string> open_kept(int parent, const char* name) {
    auto directory = kernel::open_beneath(parent, name, O_RDONLY | O_DIRECTORY);
    if (!directory) {
        return could_not("open", name, directory.error());
    }
    const auto status = kernel::status_of(directory->get());
    if (!status || status->st_uid != 0 || (status->st_mode & 022U) != 0) {
        return Sentence(fmt::format("{} must belong to root and be writable by nobody else", name));
    }
    return std::move(*directory);
}

std::expected<void, std::string> open_all(OwnNamespace& own, const Pieces& pieces) {
    struct Wanted {
        Fd OwnNamespace::* member;
        std::string path;
        int flags;
    };
    const Wanted wanted[] = {
        {&OwnNamespace::devices, kDevices, O_PATH | O_DIRECTORY},
        {&OwnNamespace::nodes, kNodesTree, O_PATH | O_DIRECTORY},
        {&OwnNamespace::ended_jobs, kEnded, O_RDONLY | O_DIRECTORY},
        {&OwnNamespace::running_jobs, kRunning, O_RDONLY | O_DIRECTORY},
    };
    const auto open_into = [](Fd& out, const std::string& path, int flags) -> std::expected<void, std::string> {
        auto opened = kernel::open_path(("/" + path).c_str(), flags);
        if (!opened) {
            return could_not("open", path, opened.error());
        }
        out = std::move(*opened);
        return {};
    };
    for (const auto& [member, path, flags] : wanted) {
        if (auto done = open_into(own.*member, path, flags); !done) {
            return done;
        }
    }
    for (const auto& [name, at] : pieces.bases) {
        if (auto done = open_into(own.bases[name], at, O_PATH | O_DIRECTORY); !done) {
            return done;
        }
    }
    if (auto done = open_into(own.bases[std::string(kSystemBase)], kSystem, O_PATH | O_DIRECTORY); !done) {
        return done;
    }
    Fd store;
    if (auto done = open_into(store, kStore, O_PATH | O_DIRECTORY); !done) {
        return done;
    }
    for (const auto& [member, name] : {std::pair(&OwnNamespace::volumes, "volumes"), std::pair(&OwnNamespace::trash, "trash"),
                                       std::pair(&OwnNamespace::staging, "staging")}) {
        auto opened = open_kept(store.get(), name);
        if (!opened) {
            return Sentence(std::move(opened.error()));
        }
        own.*member = std::move(*opened);
    }
    return {};
}

} // namespace

std::expected<OwnNamespace, std::string> enter_own_namespace(const Layout& layout, const BrokerConfig& config) {
    OwnNamespace own;
    auto proc = kernel::make_proc(kernel::HidePid::No, Attributes::NoSuidNoDevNoExec);
    if (!proc) {
        return could_not("mount", "proc", proc.error());
    }
    own.proc = std::move(*proc);
    const auto pieces = clone_pieces(layout, config);
    if (!pieces) {
        return Sentence(pieces.error());
    }
    if (auto attached = attach(*pieces, own.proc.get()); !attached) {
        return Sentence(std::move(attached.error()));
    }
    if (auto opened = open_all(own, *pieces); !opened) {
        return Sentence(std::move(opened.error()));
    }
    auto self = kernel::own_mount_namespace(own.proc.get());
    if (!self) {
        return could_not("open", "the worker's own mount namespace", self.error());
    }
    own.self = std::move(*self);
    return own;
}

void return_to_own(const OwnNamespace& own) {
    if (const auto back = kernel::enter_mount_namespace(own.self.get()); !back) {
        log::error("could not return to the worker's own namespace");
        std::_Exit(EXIT_FAILURE); // another worker is started
    }
}

} // namespace joblet::worker
