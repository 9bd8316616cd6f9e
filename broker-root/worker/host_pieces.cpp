#include "broker-root/worker/host_pieces.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "broker-root/kernel/namespace.h"
#include "broker-root/kernel/record_io.h"

namespace joblet::worker {
namespace {

bool same_object(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

} // namespace

std::unexpected<std::string> could_not(std::string_view what, std::string_view object, int error) {
    return std::unexpected(fmt::format("could not {} {}: {}", what, object, std::strerror(error)));
}

std::expected<Fd, std::string> clone_piece(const std::string& path, kernel::Attributes attributes) {
    const auto directory = kernel::open_path(path.c_str(), O_PATH | O_DIRECTORY);
    if (!directory) {
        return could_not("open the directory (no component may be a symbolic link)", path, directory.error());
    }
    auto piece = kernel::clone_mount(directory->get(), "");
    if (!piece) {
        return could_not("clone the mount of", path, piece.error());
    }
    if (const auto separated = kernel::make_private(piece->get()); !separated) {
        return could_not("separate from the host the mount of", path, separated.error());
    }
    if (const auto set = kernel::set_attributes(piece->get(), attributes); !set) {
        return could_not("restrict the mount of", path, set.error());
    }
    return std::move(*piece);
}

std::expected<void, std::string> check_not_mounted_over(int piece, const std::string& path, const char* name) {
    const auto here = kernel::status_beneath(piece, name);
    const auto host = kernel::open_path((path + "/" + name).c_str(), O_PATH);
    if (!here || !host) {
        return {}; // missing, or a symlink: for the one who needs it to say
    }
    const auto there = kernel::status_of(host->get());
    if (!there || !same_object(*here, *there)) {
        return std::unexpected(fmt::format("{}/{} is a mount of its own; mount it at {} or above instead", path, name, path));
    }
    return {};
}

} // namespace joblet::worker
