// The bases of jobs at the start of a worker: each looked at, and cloned or refused. An error is a sentence with the path that is
// wrong.
#pragma once

#include <expected>
#include <string>
#include <utility>
#include <vector>

#include "broker-root/broker/config.h"
#include "broker-root/kernel/result.h"
#include "broker-root/worker/host_pieces.h"

namespace joblet::worker {

struct ClonedBase {
    std::string name;
    std::string at;                 // its directory in the worker's namespace, one component
    std::vector<HostPiece> pieces;  // at `at` or below it, to be attached in this order
    std::vector<std::string> inner; // those that lie in another piece, as paths below `at`: their mount points are there already
    std::vector<std::pair<std::string, std::string>> links; // symbolic links directly in `at`: name, what it says
};

// Everything that programs of jobs come from belongs to root, and nobody else can write to it or put something in its place: the
// directory, its entries and all directories above it.
std::expected<ClonedBase, std::string> clone_base(const std::string& name, const Base& base, std::string at);

// kSystemBase: the host's usr, and links to what the host's usr has below it.
std::expected<ClonedBase, std::string> clone_system_base(std::string at);

// In the root of the worker's namespace while it is still detached: `at`, the mount points in it, and the links.
kernel::Result<void> make_base_directory(int root, const ClonedBase& base);

} // namespace joblet::worker
