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
#include "broker-root/worker/bases.h"
#include "broker-root/worker/host_pieces.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::Attributes;
using Sentence = std::unexpected<std::string>;

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

constexpr auto kStore = "store";
constexpr auto kEnded = "ended";
constexpr auto kRunning = "running";
constexpr auto kDevices = "dev"; // the path that a loop device is mounted by begins with it
constexpr auto kNodesTree = "nodes";
constexpr auto kScratch = "scratch";

struct Pieces {
    std::vector<HostPiece> all;
    std::vector<ClonedBase> bases; // their pieces come after those above
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
    auto nodes = make_nodes();
    if (!nodes) {
        return could_not("make", "the device nodes of jobs", nodes.error());
    }
    out.all.push_back({kNodesTree, std::move(*nodes)});
    auto system = clone_system_base("system");
    if (!system) {
        return Sentence(std::move(system.error()));
    }
    out.bases.push_back(std::move(*system));
    for (const auto& [name, base] : config.bases) {
        auto cloned = clone_base(name, base, "base" + std::to_string(out.bases.size()));
        if (!cloned) {
            log::warning(fmt::format("the base {} cannot be used: {}", name, cloned.error()));
            continue;
        }
        out.bases.push_back(std::move(*cloned));
    }
    return out;
}

// The root of the new namespace, with a mount point for each piece.
kernel::Result<Fd> make_root(const Pieces& pieces) {
    constexpr std::uint64_t kInodesOfBase = 16;
    auto root = kernel::make_tmpfs({.size_bytes = 65536, .inodes = 64 + pieces.bases.size() * kInodesOfBase, .mode = 0700},
                                   Attributes::NoSuidNoDevNoExec);
    if (!root) {
        return root;
    }
    const auto make = [&root](std::string_view path) { return kernel::make_path(root->get(), path, 0755); };
    auto made = make(kScratch);
    for (auto piece = pieces.all.begin(); made && piece != pieces.all.end(); ++piece) {
        made = make(piece->at);
    }
    for (auto base = pieces.bases.begin(); made && base != pieces.bases.end(); ++base) {
        made = make_base_directory(root->get(), *base);
    }
    return made ? std::move(root) : std::unexpected(made.error());
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
    const auto attach_all = [&root](const std::vector<HostPiece>& some) -> std::expected<void, std::string> {
        for (const auto& piece : some) {
            if (const auto moved = kernel::move_mount_to(piece.mount.get(), root->get(), piece.at.c_str()); !moved) {
                return could_not("attach", piece.at, moved.error());
            }
        }
        return {};
    };
    auto attached = attach_all(pieces.all);
    for (auto base = pieces.bases.begin(); attached && base != pieces.bases.end(); ++base) {
        attached = attach_all(base->pieces);
    }
    if (!attached) {
        return attached;
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
    for (const auto& base : pieces.bases) {
        UsableBase& usable = own.bases[base.name];
        auto done = open_into(usable.directory, base.at, O_PATH | O_DIRECTORY);
        for (auto path = base.inner.begin(); done && path != base.inner.end(); ++path) {
            usable.inner.push_back({.path = *path, .mount = {}});
            done = open_into(usable.inner.back().mount, base.at + "/" + *path, O_PATH | O_DIRECTORY);
        }
        if (!done) {
            return done;
        }
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
    for (const auto& [name, base] : config.bases) {
        own.configured_bases.push_back(name);
    }
    auto proc = kernel::make_proc(kernel::HidePid::No, Attributes::NoSuidNoDevNoExec);
    if (!proc) {
        return could_not("mount", "proc", proc.error());
    }
    own.proc = std::move(*proc);
    own.store_devices = find_store_devices(layout);
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
