#include "broker-root/worker/backends/project_quota.h"

#include <fcntl.h>

#include <chrono>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/quota.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/backends/data_directory.h"
#include "broker-root/worker/patience.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::ProjectLimits;

constexpr auto kProject = "project";

// XFS frees what was removed a moment later.
constexpr std::chrono::milliseconds kPatience{2000};

// Our own two directories count, with a block of up to 64 KiB each; and what a file's extents are listed in: on ext4 a block of 4 KiB for
// 340 of them, so that a thousandth is enough for a file in pieces of 12 KiB.
std::uint64_t bytes_held(std::uint64_t size_bytes) {
    constexpr std::uint64_t kOwn = 131072;
    constexpr std::uint64_t kUnit = 1024; // that limits are held in
    return size_bytes == 0 ? 0 : (size_bytes + size_bytes / 1024 + kOwn + kUnit - 1) / kUnit * kUnit;
}
std::uint64_t inodes_held(std::uint64_t inodes) {
    constexpr std::uint64_t kOwn = 2;
    return inodes == 0 ? 0 : inodes + kOwn;
}

ProjectLimits limits_of(const VolumeRecord& record) {
    return {.bytes = bytes_held(record.size_bytes),
            .soft_bytes = bytes_held(record.soft_size_bytes),
            .inodes = inodes_held(record.inodes),
            .soft_inodes = inodes_held(record.soft_inodes)};
}

kernel::Result<Fd> open_project(int directory) {
    return kernel::open_beneath(directory, kProject, O_RDONLY | O_DIRECTORY);
}

Outcome<void> set_limits(int fd, std::uint32_t id, const ProjectLimits& limits) {
    if (const auto hold = kernel::check_project_limits_hold(fd); !hold) {
        return failed(Step::SetQuota, hold.error());
    }
    const auto present = kernel::project_quota(fd, id);
    if (!present) {
        return failed(Step::SetQuota, present.error());
    }
    // ext4 begins the time of grace anew for whoever is above a soft limit when limits are set, the same ones too.
    if (present->limits == limits) {
        return {};
    }
    const auto set = kernel::set_project_limits(fd, id, limits);
    return set ? Outcome<void>() : failed(Step::SetQuota, set.error());
}

bool has_mark(int project, std::uint32_t id) {
    const auto mark = kernel::project_of(project);
    return mark && mark->id == id && mark->is_inherited;
}

// The id first: as long as the directory is there, what it says is how the limits are found again.
Outcome<Fd> make_limited(int directory, std::uint32_t id, const ProjectLimits& limits) {
    const auto present = kernel::project_quota(directory, id);
    if (present && !present->is_nothing()) {
        return failed(Step::SetQuota, EEXIST);
    }
    if (const auto made = kernel::make_directory(directory, kProject, kHolderMode); !made) {
        return failed(Step::SetQuota, made.error());
    }
    auto project = open_project(directory);
    if (!project) {
        return failed(Step::SetQuota, project.error());
    }
    // Says that a file system knows no projects; what follows says that their limits are off.
    if (const auto marked = kernel::set_project(project->get(), id); !marked) {
        return failed(Step::SetQuota, marked.error());
    }
    if (const auto hold = kernel::check_project_limits_hold(directory); !hold || !present) {
        return failed(Step::SetQuota, !hold ? hold.error() : present.error());
    }
    if (const auto limited = set_limits(project->get(), id, limits); !limited) {
        return std::unexpected(limited.error());
    }
    return std::move(*project);
}

// Only when nothing is counted any more: what a job still has open of a volume that was deleted under it keeps its limit.
void forget_limits(int directory, std::uint32_t id) {
    const auto forgotten = wait_while<void>(EBUSY, kPatience, [directory, id]() -> kernel::Result<void> {
        const auto quota = kernel::project_quota(directory, id);
        if (!quota) {
            const bool are_off = quota.error() == ESRCH || quota.error() == ENOSYS;
            return are_off ? kernel::Result<void>() : std::unexpected(quota.error());
        }
        if (quota->bytes != 0 || quota->inodes != 0) {
            return std::unexpected(EBUSY);
        }
        return quota->is_nothing() ? kernel::Result<void>() : kernel::set_project_limits(directory, id, {});
    });
    if (!forgotten) {
        log::warning(fmt::format("the limits of project {} stay: {}", id, std::strerror(forgotten.error())));
    }
}

bool is_above(std::uint64_t used, std::uint64_t limit) {
    return limit != 0 && used > limit;
}

} // namespace

Outcome<Fd> ProjectQuotaBackend::create(int directory, const VolumeRecord& record, std::uint32_t) const {
    if (const auto fits = check_fits(Step::SetQuota, directory, record); !fits) {
        return std::unexpected(fits.error());
    }
    const auto project = make_limited(directory, record.project_id, limits_of(record));
    if (!project) {
        return std::unexpected(project.error());
    }
    if (const auto made = make_data(Step::SetQuota, project->get(), label_for(has_labels_, record)); !made) {
        return std::unexpected(made.error());
    }
    return Fd();
}

Outcome<void> ProjectQuotaBackend::complete(int directory, const VolumeRecord& record) const {
    if (!is_intact(directory, record)) {
        return failed(Step::CommitVolume, EUCLEAN);
    }
    const auto project = open_project(directory);
    // One journal, in order: with the directory goes whatever was done before, the limits too.
    const auto synced = project ? kernel::sync_to_disk(project->get()) : std::unexpected(project.error());
    return synced ? Outcome<void>() : failed(Step::CommitVolume, synced.error());
}

bool ProjectQuotaBackend::is_intact(int directory, const VolumeRecord& record) const {
    const auto project = open_project(directory);
    return project && has_data(project->get()) && has_mark(project->get(), record.project_id);
}

Outcome<Fd> ProjectQuotaBackend::open(int directory, const VolumeRecord& record, const Attachment& attachment) const {
    const auto project = open_project(directory);
    if (!project) {
        return failed(Step::OpenVolume, project.error());
    }
    if (!has_data(project->get()) || !has_mark(project->get(), record.project_id)) {
        return failed(Step::OpenVolume, EUCLEAN);
    }
    // Once more: whoever made the quotas anew, or edited them, may have left none.
    if (const auto limited = set_limits(project->get(), record.project_id, limits_of(record)); !limited) {
        return std::unexpected(limited.error());
    }
    return mount_data(project->get(), attachment);
}

kernel::Result<Fd> ProjectQuotaBackend::claim(int) const {
    return Fd();
}

Outcome<protocol::Usage> ProjectQuotaBackend::measure(int directory, const VolumeRecord& record, int) const {
    if (const auto hold = kernel::check_project_limits_hold(directory); !hold) {
        return failed(Step::MeasureVolume, hold.error());
    }
    const auto quota = kernel::project_quota(directory, record.project_id);
    if (!quota) {
        return failed(Step::MeasureVolume, quota.error());
    }
    constexpr std::int64_t kSecond = 1'000'000'000;
    return protocol::Usage{.bytes = quota->bytes,
                           .bytes_limit = quota->limits.bytes,
                           .bytes_soft = quota->limits.soft_bytes,
                           .inodes = quota->inodes,
                           .inodes_limit = quota->limits.inodes,
                           .inodes_soft = quota->limits.soft_inodes,
                           .bytes_grace_ns = quota->bytes_grace_s * kSecond,
                           .inodes_grace_ns = quota->inodes_grace_s * kSecond};
}

Outcome<void> ProjectQuotaBackend::resize(int directory, const VolumeRecord& before, const VolumeRecord& after, int) const {
    if (after.project_id != before.project_id) {
        return failed(Step::ResizeVolume, EUCLEAN);
    }
    if (auto fits = check_fits(Step::ResizeVolume, directory, after); !fits) {
        return fits;
    }
    const ProjectLimits limits = limits_of(after);
    if (auto limited = set_limits(directory, after.project_id, limits); !limited) {
        return limited;
    }
    // Nothing new can be written beyond the limits any more: what is found now stays true.
    const auto quota = kernel::project_quota(directory, after.project_id);
    if (quota && !is_above(quota->bytes, limits.bytes) && !is_above(quota->inodes, limits.inodes)) {
        return {};
    }
    if (auto undone = set_limits(directory, before.project_id, limits_of(before)); !undone) {
        return undone; // the next time it is opened it has the limits of its record
    }
    return quota ? beyond_limit() : failed(Step::ResizeVolume, quota.error());
}

Outcome<void> ProjectQuotaBackend::remove(int directory) const {
    auto project = open_project(directory);
    if (!project) {
        return project.error() == ENOENT ? Outcome<void>() : failed(Step::EmptyTrash, project.error());
    }
    const auto mark = kernel::project_of(project->get());
    if (const auto removed = kernel::remove_directory(project->get(), kData); !removed && removed.error() != ENOENT) {
        return failed(Step::EmptyTrash, removed.error());
    }
    project->reset(); // as long as it is open it is counted
    if (const auto removed = kernel::remove_directory(directory, kProject); !removed) {
        return failed(Step::EmptyTrash, removed.error());
    }
    if (mark && mark->id >= kProjectFirst && mark->id <= kProjectLast) {
        forget_limits(directory, mark->id);
    }
    return {};
}

Outcome<void> ProjectQuotaBackend::probe(int directory) const {
    // From the upper end, where the broker is last to come: an id that has something costs another try, not the backend.
    constexpr std::uint32_t kTries = 64;
    const auto attempt = [directory](std::uint32_t id) -> Outcome<void> {
        const auto made = make_limited(directory, id, {.bytes = bytes_held(protocol::kVolumeSizeMin)});
        return made ? Outcome<void>() : std::unexpected(made.error());
    };
    auto made = attempt(kProjectLast);
    for (std::uint32_t i = 1; i < kTries && !made && made.error().sys_errno == EEXIST; ++i) {
        made = attempt(kProjectLast - i);
    }
    const auto removed = remove(directory);
    return made ? removed : made;
}

kernel::Result<std::uint32_t> project_id_in(int directory) {
    const auto project = open_project(directory);
    const auto mark = project ? kernel::project_of(project->get()) : std::unexpected(project.error());
    return mark ? kernel::Result<std::uint32_t>(mark->id) : std::unexpected(mark.error());
}

} // namespace joblet::worker
