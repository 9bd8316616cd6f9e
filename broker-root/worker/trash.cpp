// The trash: what is deleted lies there as it was, until the broker says that it goes or comes back.
#include <fcntl.h>

#include <fmt/format.h>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/store.h"
#include "broker-root/worker/volume_files.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::Durability;

// Durably. What is about to be renamed says so first, so that a crash in between changes nothing that counts.
Outcome<void> write_before_move(int directory, const VolumeRecord& record) {
    if (auto written = write_record(directory, record, Durability::Synced); !written) {
        return written;
    }
    const auto synced = kernel::sync_to_disk(directory);
    return synced ? Outcome<void>() : failed(Step::WriteRecord, synced.error());
}

} // namespace

void Store::load_trash(const std::function<void(const LoadedVolume&)>& tell, const VolumeId& id) const {
    LoadedVolume out;
    out.record.id = id;
    out.status = protocol::VolumeStatus::Trashed;
    const auto directory = open_volume(own_.trash, id);
    const auto found = directory ? find_record(directory->get(), id) : FoundRecord{.state = RecordState::Unreadable, .record = {}};
    switch (found.state) {
    case RecordState::Unreadable:
        log::warning(fmt::format("trash/{} cannot be read and is left alone", to_string(id)));
        return;
    case RecordState::Missing: // on its way out when a crash came
        break;
    case RecordState::Readable:
        out.record = found.record;
        const auto labels = labels_in(directory->get(), id);
        out.labels_size = labels.size;
        out.labels = labels.bytes;
        break;
    }
    tell(out);
}

Outcome<void> Store::trash(const VolumeRecord& record, bool forced) const {
    const auto directory = open_volume(own_.volumes, record.id);
    if (!directory) {
        return failed(Step::MoveToTrash, directory.error());
    }
    const auto found = find_record(directory->get(), record.id);
    if (found.state == RecordState::Unreadable) { // perhaps a newer one, which is not ours to replace
        return failed(Step::MoveToTrash, EUCLEAN);
    }
    // Held until the volume is where nobody attaches it. A volume without its image can go, too.
    const auto claim = forced ? kernel::Result<Fd>() : backend_of(record.backend).claim(directory->get());
    if (!claim && claim.error() == EWOULDBLOCK) {
        return failed(Step::MoveToTrash, claim.error());
    }
    if (found.state == RecordState::Missing || found.record.trashed_until_ns != record.trashed_until_ns) {
        if (auto written = write_before_move(directory->get(), record); !written) {
            return written;
        }
    }
    return move(Step::MoveToTrash, record.id, own_.volumes, own_.trash);
}

Outcome<void> Store::restore(const VolumeRecord& record) const {
    const auto directory = open_volume(own_.trash, record.id);
    if (!directory) {
        return failed(Step::RestoreFromTrash, directory.error());
    }
    const auto present = record_in(directory->get(), record.id);
    if (!present || present->backend != record.backend || !backend_of(record.backend).is_intact(directory->get(), record)) {
        return failed(Step::RestoreFromTrash, EUCLEAN); // it was being emptied, or is nothing that we know
    }
    if (auto written = write_before_move(directory->get(), record); !written) {
        return written;
    }
    return move(Step::RestoreFromTrash, record.id, own_.trash, own_.volumes);
}

Outcome<void> Store::empty(const VolumeId& id) const {
    const auto directory = kernel::open_beneath(own_.trash.get(), hex_digits(id.bytes).data(), O_RDONLY | O_DIRECTORY);
    if (!directory) {
        return directory.error() == ENOENT ? Outcome<void>() : failed(Step::EmptyTrash, directory.error());
    }
    const auto found = find_record(directory->get(), id);
    switch (found.state) {
    case RecordState::Unreadable:
        break;
    case RecordState::Missing:
        return remove_from(own_.trash, id, directory->get(), {&image_, &btrfs_, &quota_});
    case RecordState::Readable:
        return remove_from(own_.trash, id, directory->get(), {&backend_of(found.record.backend)});
    }
    return failed(Step::EmptyTrash, EUCLEAN);
}

} // namespace joblet::worker
