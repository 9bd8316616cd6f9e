#include "broker-root/worker/store.h"

#include <fcntl.h>

#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/patience.h"
#include "broker-root/worker/record.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::Durability;
using protocol::VolumeStatus;

constexpr auto kRecord = "record";
constexpr auto kRecordNew = "record.new";
constexpr auto kLabels = "labels";
constexpr auto kLabelsNew = "labels.new";
constexpr std::array kOwnFiles = {kRecord, kRecordNew, kLabels, kLabelsNew};
constexpr std::uint32_t kDirectoryMode = 0700;

// One volume's directory: root's, nobody else's, on the store's own file system.
kernel::Result<Fd> open_volume(const Fd& parent, const char* name) {
    auto directory = kernel::open_beneath(parent.get(), name, O_RDONLY | O_DIRECTORY);
    if (!directory) {
        return directory;
    }
    const auto status = kernel::status_of(directory->get());
    const auto store = kernel::status_of(parent.get());
    if (!status || !store) {
        return std::unexpected(!status ? status.error() : store.error());
    }
    if (status->st_uid != 0 || (status->st_mode & 07777U) != kDirectoryMode || status->st_dev != store->st_dev) {
        return std::unexpected(EUCLEAN);
    }
    return directory;
}

kernel::Result<Fd> open_volume(const Fd& parent, const VolumeId& id) {
    return open_volume(parent, hex_digits(id.bytes).data());
}

std::optional<VolumeRecord> record_in(int directory, const VolumeId& id) {
    const auto file = kernel::open_beneath(directory, kRecord, O_RDONLY);
    if (!file) {
        return std::nullopt;
    }
    std::array<std::byte, sizeof(VolumeRecord) + 1> bytes; // one more, so that a longer file is seen to be longer
    const auto size = kernel::read_file(file->get(), bytes);
    return size ? read_volume_record(std::span(bytes).first(*size), id) : std::nullopt;
}

// False if there are not exactly as many bytes as the record says.
bool read_labels(int directory, const VolumeRecord& record, Labels& labels) {
    if (record.labels_size == 0) {
        return true;
    }
    const auto file = kernel::open_beneath(directory, kLabels, O_RDONLY);
    if (!file) {
        return false;
    }
    std::array<std::byte, sizeof(Labels) + 1> bytes;
    const auto size = kernel::read_file(file->get(), bytes);
    if (!size || *size != record.labels_size) {
        return false;
    }
    std::memcpy(labels.data(), bytes.data(), *size);
    return true;
}

Outcome<void> write_record(int directory, VolumeRecord& record, Durability durability) {
    seal(record);
    const auto written = kernel::replace_file(directory, kRecord, kRecordNew, std::as_bytes(std::span(&record, 1)), durability);
    return written ? Outcome<void>() : failed(Step::WriteRecord, written.error());
}

Outcome<void> sync_all(Step step, std::initializer_list<int> directories) {
    for (const int directory : directories) {
        if (const auto synced = kernel::sync_to_disk(directory); !synced) {
            return failed(step, synced.error());
        }
    }
    return {};
}

bool agree(const VolumeRecord& record, const MountVolume& volume) {
    return record.backend == volume.backend && record.size_bytes == volume.size_bytes && record.inodes == volume.inodes &&
           record.name == volume.name;
}

} // namespace

const Backend& Store::backend_of(protocol::Backend backend) const {
    if (backend == protocol::Backend::Image) {
        return image_;
    }
    return tmpfs_;
}

// Own files by name and then the directory: anything else in it stays, and with it the directory.
Outcome<void> Store::remove_from(const Fd& parent, const char* name) const {
    const auto directory = kernel::open_beneath(parent.get(), name, O_RDONLY | O_DIRECTORY);
    if (!directory) {
        return directory.error() == ENOENT ? Outcome<void>() : failed(Step::EmptyTrash, directory.error());
    }
    for (const char* const file : kOwnFiles) {
        if (const auto removed = kernel::remove_file(directory->get(), file); !removed) {
            return failed(Step::EmptyTrash, removed.error());
        }
    }
    if (auto removed = image_.remove(directory->get()); !removed) {
        return removed;
    }
    if (const auto removed = kernel::remove_directory(parent.get(), name); !removed && removed.error() != ENOENT) {
        return failed(Step::EmptyTrash, removed.error());
    }
    return {};
}

void Store::remove_leftovers(const Fd& parent, const char* parent_name) const {
    const auto names = kernel::list_directory(parent.get());
    for (const auto& name : names ? *names : std::vector<std::string>{}) {
        const auto removed = parse_id<VolumeId>(name) ? remove_from(parent, name.c_str()) : failed(Step::EmptyTrash, EINVAL);
        if (!removed) {
            log::warning(fmt::format("{}/{} stays where it is: {}", parent_name, name, std::strerror(removed.error().sys_errno)));
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
    if (read_labels(directory->get(), *record, out.labels) && backend_of(record->backend).is_intact(directory->get(), *record)) {
        out.status = VolumeStatus::Available;
    }
    return out;
}

Outcome<void> Store::load(const std::function<void(const LoadedVolume&)>& tell) const {
    remove_leftovers(own_.staging, "staging");
    const auto names = kernel::list_directory(own_.volumes.get());
    if (!names) {
        return failed(Step::LoadRecords, names.error());
    }
    for (const auto& name : *names) {
        if (const auto id = parse_id<VolumeId>(name)) {
            tell(look_at(*id));
        } else {
            log::warning(fmt::format("volumes/{} is no volume and is left alone", name));
        }
    }
    return {};
}

void Store::empty_trash() const {
    remove_leftovers(own_.trash, "trash");
}

Outcome<Fd> Store::stage(const VolumeRecord& record, std::uint32_t slot_first) const {
    const auto name = hex_digits(record.id.bytes);
    if (const auto made = kernel::make_directory(own_.staging.get(), name.data(), kDirectoryMode); !made) {
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
        if (const auto undone = remove_from(own_.staging, name.data()); !undone) {
            log::warning(fmt::format("staging/{} could not be removed: {}", name.data(), std::strerror(undone.error().sys_errno)));
        }
    }
    return created;
}

Outcome<void> Store::commit(VolumeRecord record, const Labels& labels) const {
    const auto name = hex_digits(record.id.bytes);
    const auto directory = open_volume(own_.staging, record.id);
    if (!directory) {
        return failed(Step::CommitVolume, directory.error());
    }
    if (auto completed = backend_of(record.backend).complete(directory->get(), record); !completed) {
        return completed;
    }
    if (record.labels_size != 0) {
        const auto bytes = std::as_bytes(std::span(labels)).first(record.labels_size);
        if (const auto written = kernel::replace_file(directory->get(), kLabels, kLabelsNew, bytes, Durability::Synced); !written) {
            return failed(Step::WriteRecord, written.error());
        }
    }
    if (auto written = write_record(directory->get(), record, Durability::Synced); !written) {
        return written;
    }
    if (auto synced = sync_all(Step::CommitVolume, {directory->get()}); !synced) {
        return synced;
    }
    if (const auto renamed = kernel::rename_into(own_.staging.get(), own_.volumes.get(), name.data()); !renamed) {
        return failed(Step::CommitVolume, renamed.error());
    }
    auto synced = sync_all(Step::CommitVolume, {own_.volumes.get()});
    if (!synced) {
        // Whether it would survive a crash is unknown, so it must not look as if it did.
        if (const auto undone = kernel::rename_into(own_.volumes.get(), own_.staging.get(), name.data()); !undone) {
            log::error(fmt::format("volume {} was refused but stays in the store: {}", name.data(), std::strerror(undone.error())));
        }
    }
    return synced;
}

Outcome<void> Store::discard(const VolumeId& id) const {
    return remove_from(own_.staging, hex_digits(id.bytes).data());
}

Outcome<void> Store::update(VolumeRecord record, bool durable) const {
    const auto directory = open_volume(own_.volumes, record.id);
    if (!directory) {
        return failed(Step::WriteRecord, directory.error());
    }
    if (auto written = write_record(directory->get(), record, durable ? Durability::Synced : Durability::Lazy); !written) {
        return written;
    }
    return durable ? sync_all(Step::WriteRecord, {directory->get()}) : Outcome<void>();
}

Outcome<void> Store::trash(const VolumeId& id) const {
    const auto directory = open_volume(own_.volumes, id);
    if (!directory) {
        return failed(Step::MoveToTrash, directory.error());
    }
    const auto record = record_in(directory->get(), id);
    // Held until the volume is where nobody attaches it. A volume without a record or without its image can go, too.
    const auto claim = record ? backend_of(record->backend).claim(directory->get()) : kernel::Result<Fd>();
    if (!claim && claim.error() == EWOULDBLOCK) {
        return failed(Step::MoveToTrash, claim.error());
    }
    if (const auto renamed = kernel::rename_into(own_.volumes.get(), own_.trash.get(), hex_digits(id.bytes).data()); !renamed) {
        return failed(Step::MoveToTrash, renamed.error());
    }
    return sync_all(Step::MoveToTrash, {own_.volumes.get(), own_.trash.get()});
}

Outcome<void> Store::empty(const VolumeId& id) const {
    return remove_from(own_.trash, hex_digits(id.bytes).data());
}

Outcome<Fd> Store::open(const MountVolume& volume, const Attachment& attachment) const {
    const auto directory = open_volume(own_.volumes, volume.id);
    if (!directory) {
        return failed(Step::OpenVolume, directory.error());
    }
    const auto record = record_in(directory->get(), volume.id);
    if (!record || !agree(*record, volume)) {
        return failed(Step::OpenVolume, EUCLEAN);
    }
    return backend_of(record->backend).open(directory->get(), *record, attachment);
}

Outcome<void> Store::wait_until_free(const VolumeId& id, std::chrono::milliseconds longest) const {
    const auto directory = open_volume(own_.volumes, id);
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
