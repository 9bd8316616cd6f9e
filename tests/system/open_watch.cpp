#include "tests/system/open_watch.h"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <stdexcept>

#include <fmt/format.h>

namespace joblet::testing {

namespace fs = std::filesystem;

OpenWatch::OpenWatch()
    : group_(::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE, O_RDONLY | O_LARGEFILE | O_CLOEXEC)) {
    if (!group_.valid()) {
        throw std::runtime_error(fmt::format("fanotify: {}", std::strerror(errno)));
    }
}

void OpenWatch::add(const std::string& path) const {
    constexpr std::uint64_t kWhat = FAN_OPEN | FAN_OPEN_EXEC | FAN_ACCESS | FAN_MODIFY | FAN_ONDIR;
    if (::fanotify_mark(group_.get(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, kWhat, AT_FDCWD, path.c_str()) != 0) {
        throw std::runtime_error(fmt::format("fanotify cannot watch {}: {}", path, std::strerror(errno)));
    }
}

std::vector<OpenWatch::Event> OpenWatch::events() const {
    std::vector<Event> out;
    alignas(fanotify_event_metadata) std::array<char, 65536> buffer{};
    for (ssize_t size = 0; (size = ::read(group_.get(), buffer.data(), buffer.size())) > 0;) {
        const char* at = buffer.data();
        while (at < buffer.data() + size) {
            fanotify_event_metadata event{};
            std::memcpy(&event, at, sizeof event);
            at += event.event_len;
            const Fd file(event.fd >= 0 ? event.fd : -1);
            std::array<char, 4096> path{};
            const auto link = fmt::format("/proc/self/fd/{}", file.get());
            const ssize_t length = file.valid() ? ::readlink(link.c_str(), path.data(), path.size()) : 0;
            out.push_back({event.pid, (event.mask & FAN_MODIFY) != 0,
                           std::string(path.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)))});
        }
    }
    return out;
}

std::vector<std::string> done_by(const std::vector<OpenWatch::Event>& events, const std::set<pid_t>& pids) {
    std::vector<std::string> out;
    for (const auto& event : events) {
        if (pids.contains(event.pid)) {
            out.push_back(fmt::format("{}{} by {}", event.path, event.is_write ? " written" : "", event.pid));
        }
    }
    return out;
}

std::set<pid_t> privileged_pids(const Installation& here) {
    std::set<pid_t> out = {here.jobletd()};
    for (const char* const name : {"joblet-broker", "joblet-worker", "joblet-spawner", "joblet-api"}) {
        const auto pids = here.daemons(name);
        out.insert(pids.begin(), pids.end());
    }
    for (const auto& group : here.job_groups()) {
        std::istringstream pids(read_file(here.cgroup() + "/jobs/" + group + "/cgroup.procs"));
        for (pid_t pid = 0; pids >> pid;) {
            if (read_file(fmt::format("/proc/{}/comm", pid)).starts_with("joblet-")) {
                out.insert(pid);
            }
        }
    }
    return out;
}

} // namespace joblet::testing
