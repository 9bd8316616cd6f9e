#include "broker-root/worker/templates.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/namespace.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/base_entries.h"
#include "shared/name.h"

namespace joblet::worker {
namespace {

using kernel::Attributes;
using kernel::Result;

struct Piece {
    const char* at;
    Fd mount;
};

Result<void> clone_into(int directory, const char* name, const char* at, std::vector<Piece>& pieces) {
    auto piece = kernel::clone_mount(directory, name);
    if (!piece) {
        return std::unexpected(piece.error());
    }
    if (const auto set = kernel::set_attributes(piece->get(), Attributes::ReadOnlyNoSuidNoDev); !set) {
        return set;
    }
    pieces.push_back({at, std::move(*piece)});
    return {};
}

Result<void> copy_base_entry(int base, const char* name, int root, std::vector<Piece>& pieces) {
    switch (look_at_base_entry(base, name)) {
    case BaseEntry::Missing:
        return {};
    case BaseEntry::MergedLink:
        return kernel::make_symlink(root, name, (std::string("usr/") + name).c_str());
    case BaseEntry::StrayLink:
    case BaseEntry::NoDirectory:
        return std::unexpected(ELOOP);
    case BaseEntry::OthersWrite:
        return std::unexpected(EPERM);
    case BaseEntry::Directory:
        break;
    }
    if (const auto cloned = clone_into(base, name, name, pieces); !cloned) {
        return cloned;
    }
    return kernel::make_directory(root, name, 0755);
}

// The root with all its directories, still detached, and what is to be mounted on them.
Result<Fd> make_root(const UsableBase& base, int nodes, std::span<const std::string> targets, std::vector<Piece>& pieces) {
    constexpr std::uint64_t kFixedInodes = 32;
    auto root = kernel::make_tmpfs({.size_bytes = 65536, .inodes = kFixedInodes + targets.size() * (kTargetMax + 1) / 2, .mode = 0755},
                                   Attributes::NoSuidNoDev);
    if (!root) {
        return root;
    }
    for (const char* const name : kBaseEntries) {
        if (const auto copied = copy_base_entry(base.directory.get(), name, root->get(), pieces); !copied) {
            return std::unexpected(copied.error());
        }
    }
    for (const auto& inner : base.inner) { // after what they lie in
        if (const auto cloned = clone_into(inner.mount.get(), "", inner.path.c_str(), pieces); !cloned) {
            return std::unexpected(cloned.error());
        }
    }
    for (const char* const name : kJobEntries) {
        if (const auto made = kernel::make_directory(root->get(), name, 0755); !made) {
            return std::unexpected(made.error());
        }
    }
    for (const auto& target : targets) {
        if (const auto made = kernel::make_path(root->get(), std::string_view(target).substr(1), 0755); !made) {
            return std::unexpected(made.error());
        }
    }
    auto dev = kernel::clone_mount(nodes, "");
    if (!dev) {
        return dev;
    }
    if (const auto set = kernel::set_attributes(dev->get(), Attributes::ReadOnlyNoSuidNoExec); !set) {
        return std::unexpected(set.error());
    }
    pieces.push_back({"dev", std::move(*dev)});
    return root;
}

// Leaves the caller in the new namespace, also when it fails.
Result<Fd> build_in_new_namespace(int root, std::span<const Piece> pieces, int proc) {
    if (const auto unshared = kernel::unshare_mounts(proc); !unshared) {
        return std::unexpected(unshared.error());
    }
    if (const auto moved = kernel::move_mount_to(root, AT_FDCWD, "/scratch"); !moved) {
        return std::unexpected(moved.error());
    }
    for (const auto& piece : pieces) {
        if (const auto moved = kernel::move_mount_to(piece.mount.get(), root, piece.at); !moved) {
            return std::unexpected(moved.error());
        }
    }
    if (const auto read_only = kernel::make_read_only(root); !read_only) {
        return std::unexpected(read_only.error());
    }
    if (const auto pivoted = kernel::pivot_to(root); !pivoted) {
        return std::unexpected(pivoted.error());
    }
    return kernel::own_mount_namespace(proc);
}

} // namespace

Outcome<int> Templates::get(std::string_view base, std::uint32_t owner, std::vector<std::string> targets) {
    std::ranges::sort(targets);
    const auto known =
        std::ranges::find_if(kept_, [&](const Template& one) { return one.owner == owner && one.base == base && one.targets == targets; });
    if (known != kept_.end()) {
        kept_.splice(kept_.begin(), kept_, known);
        return known->mount_namespace.get();
    }
    const auto known_base = own_.bases.find(base);
    if (known_base == own_.bases.end()) {
        return std::unexpected(Failure{ErrorCode::Unsupported, Step::BuildTemplate, ENOENT});
    }
    auto built = build(known_base->second, targets);
    if (!built) {
        return failed(Step::BuildTemplate, built.error());
    }
    make_room_for(owner);
    kept_.push_front({std::string(base), owner, std::move(targets), std::move(*built)});
    return kept_.front().mount_namespace.get();
}

void Templates::make_room_for(std::uint32_t owner) {
    const auto is_owners = [owner](const Template& one) { return one.owner == owner; };
    if (std::ranges::count_if(kept_, is_owners) >= static_cast<std::ptrdiff_t>(kKeptPerOwner)) {
        kept_.erase(std::prev(std::find_if(kept_.rbegin(), kept_.rend(), is_owners).base()));
    } else if (kept_.size() >= kKept) {
        kept_.pop_back();
    }
}

Result<Fd> Templates::build(const UsableBase& base, std::span<const std::string> targets) const {
    std::vector<Piece> pieces;
    const auto root = make_root(base, own_.nodes.get(), targets, pieces);
    if (!root) {
        return std::unexpected(root.error());
    }
    auto built = build_in_new_namespace(root->get(), pieces, own_.proc.get());
    return_to_own(own_);
    return built;
}

} // namespace joblet::worker
