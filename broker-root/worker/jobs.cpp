#include "broker-root/worker/jobs.h"

#include <fcntl.h>
#include <linux/major.h>
#include <sys/sysmacros.h>

#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/kernel/selinux.h"
#include "broker-root/worker/job_files.h"
#include "broker-root/worker/live.h"
#include "broker-root/worker/record.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::Attributes;

constexpr std::chrono::milliseconds kUnmountPatience{5000};

bool is_system(const JobRecord& record) {
    return record.kind == static_cast<std::uint32_t>(JobKind::System);
}

std::string temporary_name(const JobId& id) {
    return to_string(id) + ".new";
}

// A tmpfs of the slot's. `context`: as for make_tmpfs.
Outcome<Fd> make_slot_tmpfs(std::uint64_t bytes, std::uint32_t mode, std::uint32_t slot_first, const char* context, Attributes attributes) {
    auto mount = kernel::make_tmpfs(
        {.size_bytes = bytes, .inodes = tmpfs_inodes(bytes, 0), .mode = mode, .uid = slot_first, .gid = slot_first, .context = context},
        attributes);
    if (!mount) {
        return failed(Step::MountTmpfs, mount.error());
    }
    return std::move(*mount);
}

// Root's, so that the job cannot change what is in it; the stage mounts each volume onto its directory.
Outcome<Fd> make_volumes_tmpfs(std::span<const MountVolume> volumes) {
    auto mount =
        kernel::make_tmpfs({.size_bytes = 65536, .inodes = 8 + 4 * protocol::kJobVolumesMax, .mode = 0755}, Attributes::NoSuidNoDevNoExec);
    if (!mount) {
        return failed(Step::MountTmpfs, mount.error());
    }
    for (const auto& volume : volumes) {
        if (const auto made = kernel::make_directory(mount->get(), volume.name.string().c_str(), 0755); !made) {
            return failed(Step::MountTmpfs, made.error());
        }
    }
    return std::move(*mount);
}

Outcome<Fd> make_pts(std::uint32_t slot_first) {
    auto mount = kernel::make_devpts(slot_first, slot_first);
    if (!mount) {
        return failed(Step::MountDevpts, mount.error());
    }
    return std::move(*mount);
}

// What the file system of an image is mounted from; other volumes have nothing of their own.
Outcome<std::optional<protocol::Device>> loop_device_of(int mount, protocol::Backend backend) {
    if (backend != protocol::Backend::Image) {
        return std::nullopt;
    }
    const auto status = kernel::status_of(mount);
    if (!status || major(status->st_dev) != LOOP_MAJOR) {
        return failed(Step::FindDevices, status ? ENXIO : status.error());
    }
    return protocol::Device{major(status->st_dev), minor(status->st_dev)};
}

std::vector<std::string> targets_of(std::span<const MountVolume> volumes) {
    std::vector<std::string> targets;
    for (const auto& volume : volumes) {
        if (!volume.target.empty()) {
            targets.push_back(volume.target.string());
        }
    }
    return targets;
}

} // namespace

Outcome<Jobs::Prepared> Jobs::prepare(const PrepareJob& order, int user_namespace) {
    const auto volumes = std::span(order.volumes).first(order.volume_count);
    const Place place_of_volumes = is_system(order.record) ? Place::Trash : Place::Volumes;
    Prepared out;
    std::vector<Fd> mounted;
    for (const auto& volume : volumes) {
        auto mount = store_.open(volume, {volume.access, order.slot_first, user_namespace}, place_of_volumes);
        if (!mount) {
            return std::unexpected(mount.error());
        }
        const auto device = loop_device_of(mount->get(), volume.backend);
        if (!device) {
            return std::unexpected(device.error());
        }
        if (*device) {
            out.devices.push_back(**device);
        }
        mounted.push_back(std::move(*mount));
    }

    out.rest.resize(kPreparedFixed - 1); // kTemplate is not among them
    const auto place = [&out](PreparedDescriptor at, Outcome<Fd> made) -> Outcome<void> {
        if (!made) {
            return std::unexpected(made.error());
        }
        out.rest[at - 1] = std::move(*made);
        return {};
    };
    const auto slot = order.slot_first;
    const auto label = kernel::label_of(kernel::Labelled::Scratch, is_system(order.record) ? order.volume_owner : order.record.owner_uid);
    const char* const context = has_labels_ ? label.data() : nullptr;
    auto placed = place(kVolumesMount, make_volumes_tmpfs(volumes));
    if (placed) {
        const bool read_only = (order.flags & kPrepareReadOnlyWork) != 0;
        // A job's user, whoever it is in there, gets a /work of his own from the stage, but not one that nobody can change
        placed = place(kWorkMount, make_slot_tmpfs(order.work_bytes, read_only ? 0755 : 0700, slot, context,
                                                   read_only ? Attributes::ReadOnlyNoSuidNoDev : Attributes::NoSuidNoDev));
    }
    if (placed) {
        placed = place(kTmpMount, make_slot_tmpfs(order.tmp_bytes, 01777, slot, context, Attributes::NoSuidNoDev));
    }
    if (placed) {
        placed = place(kShmMount, make_slot_tmpfs(order.shm_bytes, 01777, slot, context, Attributes::NoSuidNoDevNoExec));
    }
    if (placed) {
        placed = place(kPtsMount, make_pts(slot));
    }
    if (!placed) {
        return std::unexpected(placed.error());
    }
    const auto mount_template = templates_.get(order.base.view(), order.record.owner_uid, targets_of(volumes));
    if (!mount_template) {
        return std::unexpected(mount_template.error());
    }
    out.mount_template = *mount_template;
    // Last, because these alone outlive a crash in the middle.
    auto files = make_files(order.record);
    if (!files) {
        return std::unexpected(files.error());
    }
    out.rest[kExitRecord - 1] = std::move(files->exit);
    std::ranges::move(files->logs, std::back_inserter(out.rest));
    std::ranges::move(mounted, std::back_inserter(out.rest));
    return out;
}

Outcome<JobFiles> Jobs::make_files(const JobRecord& record) const {
    if (const auto made = kernel::make_directory(own_.ended_jobs.get(), hex_digits(record.id.bytes).data(), 0700); !made) {
        return failed(Step::MakeJobDirectory, made.error()); // EEXIST: another job's, which keeps it
    }
    auto files = fill_job_directory(own_.ended_jobs, record);
    const auto written = files ? write_running(record) : std::unexpected(files.error());
    if (!written) {
        remove_files(record.id);
        return failed(Step::MakeJobDirectory, written.error());
    }
    return std::move(*files);
}

// Not synced: what it is about does not outlive the host either.
kernel::Result<void> Jobs::write_running(JobRecord record) const {
    seal(record);
    return kernel::replace_file(own_.running_jobs.get(), hex_digits(record.id.bytes).data(), temporary_name(record.id).c_str(),
                                std::as_bytes(std::span(&record, 1)), kernel::Durability::Lazy);
}

void Jobs::remove_files(const JobId& id) const {
    const auto name = to_string(id);
    const auto released = remove_job_directory(own_.ended_jobs, id);
    const auto forgotten = kernel::remove_file(own_.running_jobs.get(), name.c_str());
    const auto cleared = kernel::remove_file(own_.running_jobs.get(), temporary_name(id).c_str());
    if (!released || !forgotten || !cleared) {
        log::warning(fmt::format("the files of job {} could not be removed", name));
    }
}

Outcome<std::optional<protocol::Device>> Jobs::attach(const AttachVolume& order, int user_namespace, int mount_namespace) const {
    const auto before = running_record_of(own_.running_jobs, order.record.id);
    if (!before) {
        return failed(Step::AttachVolume, ENOENT);
    }
    if (const auto written = write_running(order.record); !written) {
        return failed(Step::AttachVolume, written.error());
    }
    auto attached = [&]() -> Outcome<std::optional<protocol::Device>> {
        const auto mount = store_.open(order.volume, {order.volume.access, order.slot_first, user_namespace}, Place::Volumes);
        auto device = mount ? loop_device_of(mount->get(), order.volume.backend) : std::unexpected(mount.error());
        if (!device) {
            return device;
        }
        const auto in_job = mount_in_job(own_, mount_namespace, mount->get(), order.volume.name);
        return in_job ? device : std::unexpected(in_job.error());
    }();
    if (!attached) {
        if (const auto undone = write_running(*before); !undone) { // says more than there is, which is the safe side
            log::warning(fmt::format("the record of job {} still names a volume that was not attached", to_string(order.record.id)));
        }
    }
    return attached;
}

Outcome<void> Jobs::detach(const DetachVolume& order, int mount_namespace) const {
    if (!running_record_of(own_.running_jobs, order.record.id)) {
        return failed(Step::DetachVolume, ENOENT);
    }
    if (auto detached = unmount_in_job(own_, mount_namespace, order.name, order.target); !detached) {
        return detached;
    }
    const auto written = write_running(order.record);
    return written ? Outcome<void>() : failed(Step::DetachVolume, written.error());
}

Outcome<void> Jobs::finish(const FinishJob& order, std::vector<Fd> descriptors) const {
    const JobId& id = order.id;
    const auto patience = order.at_once != 0 ? std::chrono::milliseconds(0) : kUnmountPatience;
    descriptors.clear(); // unmounts what nothing else holds
    if (const auto record = running_record_of(own_.running_jobs, id)) {
        for (std::size_t i = 0; i < record->volume_count; ++i) {
            if (record->access[i] == protocol::Access::ReadOnly) {
                continue; // other jobs may be reading it
            }
            const Place place = is_system(*record) ? Place::Trash : Place::Volumes;
            if (auto free = store_.wait_until_free(record->volumes[i], patience, place); !free) {
                return free;
            }
        }
    }
    for (const auto& name : {to_string(id), temporary_name(id)}) {
        if (const auto removed = kernel::remove_file(own_.running_jobs.get(), name.c_str()); !removed) {
            return failed(Step::MakeJobDirectory, removed.error());
        }
    }
    return {};
}

Outcome<void> Jobs::release(const JobId& id) const {
    return remove_job_directory(own_.ended_jobs, id);
}

Outcome<std::array<Fd, kLogFiles.size()>> Jobs::open_log(const JobId& id) const {
    auto files = open_log_files(own_.ended_jobs, id);
    if (!files) {
        return failed(Step::OpenLog, files.error());
    }
    return std::move(*files);
}

Outcome<void> Jobs::load(bool remove_leftovers, const std::function<void(const LoadedJob&)>& tell) const {
    const auto running = kernel::list_directory(own_.running_jobs.get());
    const auto kept = kernel::list_directory(own_.ended_jobs.get());
    if (!running || !kept) {
        return failed(Step::LoadRecords, !running ? running.error() : kept.error());
    }
    for (const auto& name : *running) {
        const auto id = parse_id<JobId>(name);
        if (!id) {
            continue; // a record that another worker is just writing
        }
        LoadedJob job;
        job.record = running_record_of(own_.running_jobs, *id).value_or(JobRecord{.id = *id});
        job.exit = exit_of(own_.ended_jobs, *id);
        tell(job);
    }
    for (const auto& name : *kept) {
        const auto id = parse_id<JobId>(name);
        if (id && std::ranges::find(*running, name) == running->end()) {
            load_ended(*id, remove_leftovers, tell);
        }
    }
    return {};
}

// One that cannot be used or removed does not keep the others from being loaded.
void Jobs::load_ended(const JobId& id, bool remove_leftovers, const std::function<void(const LoadedJob&)>& tell) const {
    const auto kept = kept_record_of(own_.ended_jobs, id);
    if (kept.record) {
        tell({.record = *kept.record, .exit = exit_of(own_.ended_jobs, id), .ended = 1});
    } else if (kept.is_unreadable) {
        log::warning(
            fmt::format("the record of the ended job {} is damaged or of another version; its directory is left alone", to_string(id)));
    } else if (remove_leftovers) {
        if (const auto removed = remove_job_directory(own_.ended_jobs, id); !removed) {
            log::warning(fmt::format("what a crash left of job {} could not be removed: {}", to_string(id),
                                     std::strerror(removed.error().sys_errno)));
        }
    }
}

} // namespace joblet::worker
