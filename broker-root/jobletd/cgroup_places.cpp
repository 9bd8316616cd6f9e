#include "broker-root/jobletd/cgroup_places.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include <fmt/format.h>

#include "broker-root/kernel/cgroup.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"

namespace joblet::jobletd {

std::expected<Fd, std::string> find_cgroup2() {
    for (const char* const path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
        Fd directory(::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        struct statfs state{};
        if (directory.valid() && ::fstatfs(directory.get(), &state) == 0 && state.f_type == CGROUP2_SUPER_MAGIC) {
            return directory;
        }
    }
    return std::unexpected("there is no cgroup2 at /sys/fs/cgroup or /sys/fs/cgroup/unified, which holds jobs together; make it with: "
                           "mount -t cgroup2 none /sys/fs/cgroup");
}

std::expected<Fd, int> open_group(int top, std::string_view place) {
    auto current = kernel::open_directory(top);
    while (current && !place.empty()) {
        const auto slash = place.find('/');
        const std::string name(place.substr(0, slash));
        place = slash == std::string_view::npos ? std::string_view{} : place.substr(slash + 1);
        const auto next = kernel::open_cgroup(current->get(), name.c_str());
        if (!next) {
            return std::unexpected(next.error());
        }
        current = kernel::open_directory(next->get());
    }
    return current;
}

std::optional<std::string> group_in(std::string_view text) {
    // One line for each hierarchy; that of cgroup2 has number 0 and names no controller (cgroups(7))
    constexpr std::string_view kUnified = "0::/";
    while (!text.empty()) {
        const auto end = text.find('\n');
        const auto line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        if (!line.starts_with(kUnified)) {
            continue;
        }
        const auto place = line.substr(kUnified.size());
        // "/../x": above the root of this cgroup namespace. "/x (deleted)": no such group can be opened, which will be told then
        return lies_in(place, "..") ? std::nullopt : std::optional<std::string>(place);
    }
    return std::nullopt;
}

std::expected<std::string, std::string> own_group() {
    constexpr std::size_t kLengthMax = 16384; // a path, and the lines of the other hierarchies
    std::array<char, kLengthMax> text{};
    const Fd file(::open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC));
    const auto size = file.valid() ? kernel::read_file(file.get(), std::as_writable_bytes(std::span(text))) : std::unexpected(errno);
    if (!size) {
        return std::unexpected(fmt::format("could not read /proc/self/cgroup: {}", std::strerror(size.error())));
    }
    auto place = group_in({text.data(), *size});
    if (!place) {
        return std::unexpected("jobletd's own group of cgroup2 is outside of what it can see; start it in a group of the same cgroup2");
    }
    return std::move(*place);
}

bool lies_in(std::string_view place, std::string_view group) {
    return group.empty() || place == group || (place.starts_with(group) && place[group.size()] == '/');
}

} // namespace joblet::jobletd
