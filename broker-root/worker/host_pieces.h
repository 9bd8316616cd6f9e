// Pieces of the host's tree, cloned while it is in sight. An error is a sentence.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "broker-root/kernel/mount.h"
#include "shared/fd.h"

namespace joblet::worker {

struct HostPiece {
    std::string at; // where it will be attached, as components below the root of the worker's namespace
    Fd mount;
};

std::unexpected<std::string> could_not(std::string_view what, std::string_view object, int error);

// Without its children. No component of `path` may be a symbolic link.
std::expected<Fd, std::string> clone_piece(const std::string& path, kernel::Attributes attributes);

// The clone has no children: what is mounted below `path` on the host is not in it, and the directory underneath would be
// taken for it.
std::expected<void, std::string> check_not_mounted_over(int piece, const std::string& path, const char* name);

} // namespace joblet::worker
