#include "tests/boundary/attacker/mount_table.h"

#include <algorithm>
#include <array>
#include <sstream>

#include <fmt/format.h>

namespace joblet::testing {

namespace {

// docs/architecture.md, "What a job sees"
constexpr std::array<std::string_view, 15> kOfEveryJob = {"/",     "/bin",     "/sbin",    "/lib", "/lib64", "/usr",     "/etc",    "/dev",
                                                          "/proc", "/dev/pts", "/dev/shm", "/tmp", "/work",  "/volumes", "/dev/tty"};

bool has_option(const Mount& mount, std::string_view option) {
    const std::string padded = "," + mount.options + ",";
    return padded.find(fmt::format(",{},", option)) != std::string::npos;
}

} // namespace

std::vector<Mount> mount_table(std::string_view mountinfo) {
    std::vector<Mount> out;
    std::istringstream text{std::string(mountinfo)};
    for (std::string line; std::getline(text, line);) {
        std::istringstream words(line);
        Mount mount;
        std::string skipped;
        words >> skipped >> skipped >> skipped >> mount.root >> mount.where >> mount.options;
        while (words >> skipped && skipped != "-") { // optional fields
        }
        words >> mount.type >> mount.source;
        mount.line = line;
        out.push_back(std::move(mount));
    }
    return out;
}

void compare_job_mounts(const Model& model, const JobId& id, const std::vector<Mount>& mounts,
                        const std::map<std::string, std::string>& devices, std::vector<std::string>& out) {
    const auto complain = [&](const std::string& what) { out.push_back(fmt::format("job {}: {}", to_string(id), what)); };
    struct Place {
        VolumeId volume;
        protocol::VolumeType type;
        protocol::Access access;
    };
    std::map<std::string, Place> places;
    for (const auto& [volume, mount] : model.jobs().at(id).volumes) {
        const auto known = model.volumes().find(volume);
        if (known == model.volumes().end()) {
            complain("it has a volume that is not there");
            continue;
        }
        places.emplace("/volumes/" + known->second.name, Place{volume, known->second.type, mount.access});
        if (!mount.target.empty()) {
            places.emplace(mount.target, Place{volume, known->second.type, mount.access});
        }
    }
    std::map<std::string, int> found;
    for (const auto& mount : mounts) {
        // Masks of proc are device nodes, too
        const bool is_node = mount.where == "/dev" || mount.where.starts_with("/dev/") || mount.where.starts_with("/proc/");
        if (!has_option(mount, "nosuid") || (!is_node && !has_option(mount, "nodev"))) {
            complain("a mount without nosuid or nodev: " + mount.line);
        }
        const auto place = places.find(mount.where);
        if (place == places.end()) {
            // Below /etc and /proc: what base "host" has besides, and masks
            if (std::ranges::find(kOfEveryJob, mount.where) == kOfEveryJob.end() && !mount.where.starts_with("/etc/") &&
                !mount.where.starts_with("/proc/")) {
                complain("a mount that it should not have: " + mount.line);
            }
            if (devices.contains(mount.source)) {
                complain("a volume where none should be: " + mount.line);
            }
            continue;
        }
        ++found[mount.where];
        const auto device = devices.find(mount.source);
        const bool is_right =
            place->second.type == protocol::VolumeType::Memory
                ? mount.type == "tmpfs"
                : (device != devices.end() ? device->second : mount.root).find(to_string(place->second.volume)) != std::string::npos;
        if (!is_right || has_option(mount, "ro") != (place->second.access == protocol::Access::ReadOnly)) {
            complain("another volume, or another access, than it should have: " + mount.line);
        }
    }
    for (const auto& [where, place] : places) {
        if (found[where] != 1) {
            complain(fmt::format("volume {} is mounted at {} {} times", to_string(place.volume), where, found[where]));
        }
    }
}

} // namespace joblet::testing
