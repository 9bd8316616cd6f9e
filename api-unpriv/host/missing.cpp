#include "api-unpriv/host/missing.h"

#include <algorithm>
#include <array>
#include <cerrno>

namespace joblet::api {

namespace {

constexpr int kAnyErrno = -1;

struct Row {
    Step step;
    int sys_errno;
    std::string_view text;
};
constexpr std::string_view kNoProjects =
    "the store's file system knows no projects; this host's administrator puts /var/lib/joblet on XFS, or on ext4 made with -O "
    "project,quota, and mounts it with prjquota";
constexpr std::string_view kQuotaIsOff =
    "project quotas are off; this host's administrator mounts the file system of /var/lib/joblet with prjquota";

// The first that fits.
constexpr std::array kRows = {
    Row{Step::SetQuota, 0, "soft limits are held by the project-quota backend only; leave them out, or choose it for a new volume"},
    Row{Step::SetQuota, ENOTTY, kNoProjects},
    Row{Step::SetQuota, EOPNOTSUPP, kNoProjects},
    Row{Step::SetQuota, ESRCH, kQuotaIsOff},
    Row{Step::SetQuota, ENOSYS, "it needs a kernel with quotactl_fd, Linux 5.14 or newer, and a store on XFS or ext4"},
    Row{Step::SetQuota, kAnyErrno, kQuotaIsOff},
    Row{Step::LimitSubvolume, ENOTCONN,
        "quotas are off on the store's btrfs; this host's administrator turns them on with: btrfs quota enable /var/lib/joblet"},
    Row{Step::LimitSubvolume, 0, "btrfs cannot limit inodes; leave their number out, or choose the image backend"},
    Row{Step::MakeSubvolume, ENOTTY, "the store is not on btrfs; leave the backend out, or choose image"},
    Row{Step::MakeImage, 0, "an image of this size cannot be made; choose another size, or another backend"},
    Row{Step::ResizeVolume, EPERM,
        "growing it while a job has it needs CAP_SYS_RESOURCE, which the service does not have here: wait for the job to end, or "
        "detach the volume, then resize it"},
    Row{Step::ResizeFilesystem, kAnyErrno,
        "what it holds does not fit into that size together with what its file system needs for itself; choose a larger size"},
    Row{Step::HoldLimit, kAnyErrno,
        "the backend was tried on this host and let more be written than it should, so it is not used; choose another one, and see: "
        "rnx doctor"},
    Row{Step::FindDevices, ENODEV,
        "limits of I/O are for the block devices behind a job's volumes: give the job a volume that is on disk, or leave them out"},
    Row{Step::FindDevices, kAnyErrno, "the block devices below the store are not known, so I/O cannot be limited; see: rnx doctor"},
    Row{Step::AttachVolume, 0, "the service was started anew since this job began; only jobs that began after it can be given volumes"},
    Row{Step::SetMemoryLimit, kAnyErrno, "leave the limit out, or see what is missing: rnx doctor"},
    Row{Step::SetProcessLimit, kAnyErrno, "leave the limit out, or see what is missing: rnx doctor"},
    Row{Step::SetCpuLimit, kAnyErrno, "leave the limit out, or see what is missing: rnx doctor"},
    Row{Step::SetIoLimit, kAnyErrno, "leave the limits out, or see what is missing: rnx doctor"},
};

struct ControllerRow {
    Step step;
    MissingController missing;
};
constexpr std::array kControllers = {
    ControllerRow{Step::SetMemoryLimit, {"a limit of memory", "memory"}},
    ControllerRow{Step::SetProcessLimit, {"a limit of processes", "pids"}},
    ControllerRow{Step::SetCpuLimit, {"a limit of CPU time", "cpu"}},
    ControllerRow{Step::SetIoLimit, {"a limit of I/O", "io"}},
};

} // namespace

std::string_view what_is_missing(Step step, int sys_errno) {
    const auto row = std::ranges::find_if(
        kRows, [&](const Row& one) { return one.step == step && (one.sys_errno == sys_errno || one.sys_errno == kAnyErrno); });
    return row != kRows.end() ? row->text : "this host cannot hold what was asked for; see: rnx doctor";
}

std::optional<MissingController> missing_controller(Step step, int sys_errno) {
    const auto row = std::ranges::find(kControllers, step, &ControllerRow::step);
    return row != kControllers.end() && sys_errno == 0 ? std::optional(row->missing) : std::nullopt;
}

} // namespace joblet::api
