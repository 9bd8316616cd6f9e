// What this host can hold, what is lost without it, and how to get it.
#include <linux/magic.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <span>

#include <fmt/format.h>

#include "api-unpriv/errors.h"
#include "api-unpriv/host/controllers.h"
#include "api-unpriv/host/missing.h"
#include "api-unpriv/host/report.h"

namespace joblet::api {

namespace {

using protocol::Backend;
using protocol::HostFacts;

struct FileSystem {
    std::uint32_t magic;
    std::string_view name;
};
constexpr std::array kFileSystems = {
    FileSystem{EXT4_SUPER_MAGIC, "ext4"}, FileSystem{XFS_SUPER_MAGIC, "xfs"},           FileSystem{BTRFS_SUPER_MAGIC, "btrfs"},
    FileSystem{TMPFS_MAGIC, "tmpfs"},     FileSystem{OVERLAYFS_SUPER_MAGIC, "overlay"},
};

struct BackendRow {
    Backend backend;
    std::string_view lost;
};
constexpr std::array kBackends = {
    BackendRow{Backend::ProjectQuota, "filesystem volumes with soft limits, and those that are resized at once, whoever has them"},
    BackendRow{Backend::Btrfs, "filesystem volumes that are subvolumes of a btrfs"},
    BackendRow{Backend::Image, "filesystem volumes on a store without quotas"},
    BackendRow{Backend::Tmpfs, "memory volumes"},
};

struct ControllerRow {
    std::uint32_t bit;
    std::string_view lost;
};
constexpr std::array kLostControllers = {
    ControllerRow{protocol::kControllerCpu, "limits of CPU time that are asked for on the command line are refused"},
    ControllerRow{protocol::kControllerIo, "limits of I/O that are asked for, of a job or of a volume, are refused"},
    ControllerRow{protocol::kControllerMemory,
                  "limits of memory that are asked for on the command line are refused; what a job has in memfd files and in shared "
                  "memory of its own making is not bounded, while memory volumes, /tmp and /dev/shm are bounded by their size"},
    ControllerRow{protocol::kControllerPids,
                  "limits of processes that are asked for on the command line are refused, and one job can use up the host's"},
};
constexpr std::string_view kEnableControllers = "run jobletd --enable-controllers, or, where joblet.service runs it, see Delegate= of "
                                                "joblet-jobs.service; a host whose controllers are "
                                                "of cgroup v1 is booted with systemd.unified_cgroup_hierarchy=1";

HostCheck held(std::string subject, std::string detail) {
    return {std::move(subject), true, std::move(detail), {}, {}};
}

std::string store_name(const HostFacts& facts) {
    const auto known = std::ranges::find(kFileSystems, facts.store_magic, &FileSystem::magic);
    return known != kFileSystems.end() ? std::string(known->name) : fmt::format("{:#x}", facts.store_magic);
}

HostCheck store_check(const HostFacts& facts) {
    std::string name = store_name(facts);
    if (facts.store_magic == TMPFS_MAGIC) {
        return {"store", false, std::move(name), "no volume survives a restart of the host", "put /var/lib/joblet on XFS, ext4 or btrfs"};
    }
    return held("store", std::move(name));
}

HostCheck backend_check(const protocol::BackendReport& report) {
    std::string subject = fmt::format("backend {}", backend_name(report.backend));
    if (report.code == ErrorCode::Ok) {
        return held(std::move(subject), "a volume was made, and it held against a job that wrote beyond its size");
    }
    std::string detail = fmt::format("could not {}", step_phrase(report.step));
    if (report.sys_errno != 0) {
        const char* text = ::strerrordesc_np(report.sys_errno);
        detail += fmt::format(": {}", text != nullptr ? text : errno_name(report.sys_errno));
    }
    const auto row = std::ranges::find(kBackends, report.backend, &BackendRow::backend);
    const bool is_lacking = report.code == ErrorCode::Unsupported;
    return {std::move(subject), false, std::move(detail), std::string(row != kBackends.end() ? row->lost : std::string_view()),
            std::string(is_lacking ? what_is_missing(report.step, report.sys_errno)
                                   : std::string_view("the log of the service says what happened"))};
}

// Whether files on a volume can be a job's own: the file system must be one that can be mounted with other owners. A trial tells,
// because a job writes in it; of a backend that fails for another reason nothing is known.
std::vector<HostCheck> idmap_checks(const HostFacts& facts) {
    std::vector<HostCheck> checks;
    for (const auto& report : facts.backends) {
        const bool is_mapped =
            report.backend == Backend::Image || report.backend == Backend::ProjectQuota || report.backend == Backend::Btrfs;
        if (!is_mapped || (report.code != ErrorCode::Ok && report.step != Step::IdmapVolume)) {
            continue;
        }
        std::string subject = fmt::format("idmap {}", report.backend == Backend::Image   ? std::string("ext4 in images")
                                                      : report.backend == Backend::Btrfs ? std::string("btrfs")
                                                                                         : store_name(facts));
        if (report.code == ErrorCode::Ok) {
            checks.push_back(held(std::move(subject), "files on volumes are owned by the users of a job"));
        } else {
            checks.push_back({std::move(subject), false, std::string("this kernel cannot mount it with other owners"),
                              fmt::format("volumes of backend {}", backend_name(report.backend)),
                              "a newer kernel: ext4 and XFS can be mounted so from Linux 5.12, btrfs from 5.15"});
        }
    }
    return checks;
}

HostCheck auto_check(const HostFacts& facts) {
    const auto chosen = static_cast<Backend>(facts.chosen_backend);
    if (chosen != Backend::Auto) {
        return held("backend auto", fmt::format("takes {}", backend_name(chosen)));
    }
    return {"backend auto", false, "takes none", "filesystem volumes", "any one of the backends above"};
}

HostCheck controller_check(const HostFacts& facts, const ControllerName& controller) {
    std::string subject = fmt::format("controller {}", controller.name);
    const bool is_required = (facts.required_controllers & controller.bit) != 0;
    const std::string_view required = is_required ? "; broker.toml requires it" : "";
    if ((facts.controllers & controller.bit) != 0) {
        return held(std::move(subject), fmt::format("holds limits of jobs{}", required));
    }
    const auto row = std::ranges::find(kLostControllers, controller.bit, &ControllerRow::bit);
    return {std::move(subject), false, fmt::format("not enabled for joblet{}", required), std::string(row->lost),
            std::string(kEnableControllers)};
}

HostCheck devices_check(const HostFacts& facts) {
    if (facts.device_count == 0) {
        return {"block devices", false, "those below the store are not known", "limits of I/O are refused",
                "put /var/lib/joblet on a file system that is on block devices"};
    }
    std::vector<std::string> names;
    for (const auto& device : std::span(facts.devices).first(facts.device_count)) {
        names.push_back(fmt::format("{}:{}", device.major, device.minor));
    }
    return held("block devices", fmt::format("below the store: {}", fmt::join(names, " ")));
}

HostCheck memory_check(const HostFacts& facts) {
    if ((facts.flags & protocol::kHostNoSwap) != 0) {
        return held("memory volumes", "the kernel keeps them out of swap");
    }
    return {"memory volumes", false, "the kernel may swap them out", "what is in a memory volume may be written to the swap device",
            "Linux 6.4 or newer, or a host without swap"};
}

HostCheck growth_check(const HostFacts& facts) {
    if ((facts.flags & protocol::kHostOnlineGrow) != 0) {
        return held("image growth", "also while a job has the image");
    }
    return {"image growth", false, "only while no job has the image", "an image that a job has cannot be made larger",
            "start the service with CAP_SYS_RESOURCE"};
}

HostCheck audit_check(const HostFacts& facts) {
    if (facts.audit_errno == 0) {
        return held("audit", fmt::format("{} records are written", facts.audit_records));
    }
    return {"audit", false, fmt::format("no record can be written: {}", std::strerror(facts.audit_errno)),
            "whatever would have to be on record is refused; running jobs go on",
            facts.audit_errno == EIO ? "see that /var/log/joblet is on a disk that works, and start the daemons anew"
                                     : "make room where /var/log/joblet is"};
}

} // namespace

HostCheck own_files_check(Landlock landlock) {
    if (landlock == Landlock::On) {
        return held("files of joblet-api", "Landlock leaves it its database alone");
    }
    return {"files of joblet-api", false, "this kernel has no Landlock",
            "while joblet-api reads its database at its start, nothing but its user keeps it from other files; afterwards it can open none",
            "boot with landlock in the list lsm= of the kernel's command line, on a kernel with CONFIG_SECURITY_LANDLOCK"};
}

std::vector<HostCheck> checks_of(const HostFacts& facts) {
    std::vector<HostCheck> checks;
    checks.push_back(store_check(facts));
    for (const auto& backend : facts.backends) {
        if (backend.backend != Backend::Auto) { // one that was not tried
            checks.push_back(backend_check(backend));
        }
    }
    std::ranges::move(idmap_checks(facts), std::back_inserter(checks));
    checks.push_back(auto_check(facts));
    for (const auto& controller : kControllerNames) {
        checks.push_back(controller_check(facts, controller));
    }
    checks.push_back(devices_check(facts));
    checks.push_back(memory_check(facts));
    checks.push_back(growth_check(facts));
    checks.push_back(audit_check(facts));
    return checks;
}

} // namespace joblet::api
