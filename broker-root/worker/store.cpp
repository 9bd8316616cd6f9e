#include "broker-root/worker/store.h"

#include <fcntl.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/image_geometry.h"
#include "broker-root/worker/patience.h"
#include "broker-root/worker/volume_files.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::Durability;
using protocol::VolumeStatus;

bool agree(const VolumeRecord& record, const MountVolume& volume, Place place) {
    return record.backend == volume.backend && record.size_bytes == volume.size_bytes && record.inodes == volume.inodes &&
           (place == Place::Trash || record.name == volume.name);
}

bool has_length(const VolumeRecord& record, ImageLength length) {
    const std::uint64_t needed = image_bytes_for(record.size_bytes, record.inodes);
    return needed != 0 && (length == ImageLength::Exact ? record.image_bytes == needed : record.image_bytes >= needed);
}

Outcome<void> sync_directory(Step step, int directory) {
    const auto synced = kernel::sync_to_disk(directory);
    return synced ? Outcome<void>() : failed(step, synced.error());
}

} // namespace

const Fd& Store::directory_of(Place place) const {
    return place == Place::Trash ? own_.trash : own_.volumes;
}

const Backend& Store::backend_of(protocol::Backend backend) const {
    if (backend == protocol::Backend::Image) {
        return image_;
    }
    if (backend == protocol::Backend::Btrfs) {
        return btrfs_;
    }
    if (backend == protocol::Backend::ProjectQuota) {
        return quota_;
    }
    return tmpfs_;
}

// What a backend has made, own files by name, and then the directory: anything else in it stays, and with it the directory.
Outcome<void> Store::remove_from(const Fd& parent, const VolumeId& id, int directory,
                                 std::initializer_list<const Backend*> backends) const {
    for (const Backend* const backend : backends) {
        if (auto removed = backend->remove(directory); !removed) {
            return removed;
        }
    }
    if (auto removed = remove_own_files(directory); !removed) {
        return removed;
    }
    if (const auto removed = kernel::remove_directory(parent.get(), hex_digits(id.bytes).data()); !removed && removed.error() != ENOENT) {
        // ENOTEMPTY speaks of subvolumes in the volume; this is something in its directory that nobody here has made.
        return failed(Step::EmptyTrash, removed.error() == ENOTEMPTY ? EUCLEAN : removed.error());
    }
    return {};
}

// There may be no record yet, so that whichever backend it was looks for what it has made.
Outcome<void> Store::remove_staged(const VolumeId& id) const {
    const auto directory = kernel::open_beneath(own_.staging.get(), hex_digits(id.bytes).data(), O_RDONLY | O_DIRECTORY);
    if (!directory) {
        return directory.error() == ENOENT ? Outcome<void>() : failed(Step::EmptyTrash, directory.error());
    }
    return remove_from(own_.staging, id, directory->get(), {&image_, &btrfs_, &quota_});
}

void Store::remove_leftovers() const {
    const auto names = kernel::list_directory(own_.staging.get());
    for (const auto& name : names ? *names : std::vector<std::string>{}) {
        const auto id = parse_id<VolumeId>(name);
        const auto removed = id ? remove_staged(*id) : failed(Step::EmptyTrash, EINVAL);
        if (!removed) {
            log::warning(fmt::format("staging/{} stays where it is: {}", name, std::strerror(removed.error().sys_errno)));
        }
    }
}

LoadedVolume Store::look_at(const VolumeId& id) const {
    LoadedVolume out;
    out.record.id = id;
    out.status = VolumeStatus::Quarantined;
    const auto directory = open_volume(own_.volumes, id);
    if (!directory) {
        return out;
    }
    const auto record = record_in(directory->get(), id);
    if (!record) {
        return out;
    }
    out.record = *record;
    const auto labels = labels_in(directory->get(), id);
    out.labels_size = labels.size;
    out.labels = labels.bytes;
    if (backend_of(record->backend).is_intact(directory->get(), *record)) {
        out.status = VolumeStatus::Available;
    }
    return out;
}

Outcome<void> Store::load(const std::function<void(const LoadedVolume&)>& tell) const {
    remove_leftovers();
    for (const auto& [directory, title] : {std::pair(&own_.volumes, "volumes"), std::pair(&own_.trash, "trash")}) {
        const auto names = kernel::list_directory(directory->get());
        if (!names) {
            return failed(Step::LoadRecords, names.error());
        }
        for (const auto& name : *names) {
            const auto id = parse_id<VolumeId>(name);
            if (!id) {
                log::warning(fmt::format("{}/{} is no volume and is left alone", title, name));
            } else if (directory == &own_.trash) {
                load_trash(tell, *id);
            } else {
                tell(look_at(*id));
            }
        }
    }
    return {};
}

Outcome<Fd> Store::stage(const VolumeRecord& record, std::uint32_t slot_first, ImageLength length) const {
    if (record.backend == protocol::Backend::Image && !has_length(record, length)) {
        return std::unexpected(Failure{ErrorCode::Unsupported, Step::MakeImage, EFBIG});
    }
    const auto name = hex_digits(record.id.bytes);
    if (const auto made = kernel::make_directory(own_.staging.get(), name.data(), kVolumeDirectoryMode); !made) {
        return failed(Step::MakeStaging, made.error());
    }
    auto created = [&]() -> Outcome<Fd> {
        const auto directory = open_volume(own_.staging, record.id);
        if (!directory) {
            return failed(Step::MakeStaging, directory.error());
        }
        return backend_of(record.backend).create(directory->get(), record, slot_first);
    }();
    if (!created) {
        if (const auto undone = remove_staged(record.id); !undone) {
            log::warning(fmt::format("staging/{} could not be removed: {}", name.data(), std::strerror(undone.error().sys_errno)));
        }
    }
    return created;
}

Outcome<void> Store::commit(const VolumeRecord& record, const SizedLabels& labels, Place place) const {
    const auto directory = open_volume(own_.staging, record.id);
    if (!directory) {
        return failed(Step::CommitVolume, directory.error());
    }
    if (auto completed = backend_of(record.backend).complete(directory->get(), record); !completed) {
        return completed;
    }
    if (auto written = write_labels(directory->get(), record.id, labels); !written) {
        return written;
    }
    if (auto written = write_record(directory->get(), record, Durability::Synced); !written) {
        return written;
    }
    if (auto synced = sync_directory(Step::CommitVolume, directory->get()); !synced) {
        return synced;
    }
    return move(Step::CommitVolume, record.id, own_.staging, directory_of(place));
}

Outcome<void> Store::move(Step step, const VolumeId& id, const Fd& from, const Fd& to) {
    const auto name = hex_digits(id.bytes);
    if (const auto renamed = kernel::rename_into(from.get(), to.get(), name.data()); !renamed) {
        return failed(step, renamed.error());
    }
    auto synced = sync_directory(step, to.get());
    if (synced && step != Step::CommitVolume) { // what is in staging after a crash is removed; it need not be gone from there
        synced = sync_directory(step, from.get());
    }
    if (!synced) {
        if (const auto undone = kernel::rename_into(to.get(), from.get(), name.data()); !undone) {
            log::error(fmt::format("volume {} stays where it was not to be: {}", name.data(), std::strerror(undone.error())));
        }
    }
    return synced;
}

Outcome<void> Store::discard(const VolumeId& id) const {
    return remove_staged(id);
}

Outcome<void> Store::update(const VolumeRecord& record, bool durable) const {
    const auto directory = open_volume(own_.volumes, record.id);
    if (!directory) {
        return failed(Step::WriteRecord, directory.error());
    }
    if (auto written = write_record(directory->get(), record, durable ? Durability::Synced : Durability::Lazy); !written) {
        return written;
    }
    return durable ? sync_directory(Step::WriteRecord, directory->get()) : Outcome<void>();
}

Outcome<void> Store::set_labels(const VolumeId& id, const SizedLabels& labels) const {
    const auto directory = open_volume(own_.volumes, id);
    if (!directory) {
        return failed(Step::WriteLabels, directory.error());
    }
    if (auto written = write_labels(directory->get(), id, labels); !written) {
        return written;
    }
    return sync_directory(Step::WriteLabels, directory->get());
}

Outcome<Fd> Store::open(const MountVolume& volume, const Attachment& attachment, Place place) const {
    const auto directory = open_volume(directory_of(place), volume.id);
    if (!directory) {
        return failed(Step::OpenVolume, directory.error());
    }
    const auto record = record_in(directory->get(), volume.id);
    if (!record || !agree(*record, volume, place)) {
        return failed(Step::OpenVolume, EUCLEAN);
    }
    return backend_of(record->backend).open(directory->get(), *record, attachment);
}

Outcome<void> Store::wait_until_free(const VolumeId& id, std::chrono::milliseconds longest, Place place) const {
    const auto directory = open_volume(directory_of(place), id);
    const auto record = directory ? record_in(directory->get(), id) : std::nullopt;
    if (!record) {
        return {}; // nothing that could be attached
    }
    const auto& backend = backend_of(record->backend);
    const auto claimed = wait_while<Fd>(EWOULDBLOCK, longest, [&] { return backend.claim(directory->get()); });
    if (!claimed && claimed.error() == EWOULDBLOCK) {
        return failed(Step::OpenVolume, claimed.error());
    }
    return {};
}

} // namespace joblet::worker
