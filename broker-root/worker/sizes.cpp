// What is used of a volume, and how its size changes: where its backend can, in place; else by a copy that takes its place.
#include <cstring>

#include <fmt/format.h>

#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/store.h"
#include "broker-root/worker/volume_files.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

// A size is not what makes it another volume.
bool is_same_volume(const VolumeRecord& a, const VolumeRecord& b) {
    return a.id == b.id && a.backend == b.backend && a.type == b.type && a.project_id == b.project_id;
}

Outcome<void> write_durably(int directory, const VolumeRecord& record) {
    if (auto written = write_record(directory, record, kernel::Durability::Synced); !written) {
        return written;
    }
    const auto synced = kernel::sync_to_disk(directory);
    return synced ? Outcome<void>() : failed(Step::WriteRecord, synced.error());
}

} // namespace

Outcome<Store::Found> Store::find(Step step, const VolumeRecord& record, Place place) const {
    auto directory = open_volume(directory_of(place), record.id);
    if (!directory) {
        return failed(step, directory.error());
    }
    const auto present = record_in(directory->get(), record.id);
    if (!present || !is_same_volume(*present, record)) {
        return failed(step, EUCLEAN);
    }
    return Found{.directory = std::move(*directory), .record = *present};
}

Outcome<protocol::Usage> Store::measure(const VolumeRecord& record, Place place, int mounted) const {
    const auto found = find(Step::MeasureVolume, record, place);
    if (!found) {
        return std::unexpected(found.error());
    }
    return backend_of(record.backend).measure(found->directory.get(), found->record, mounted);
}

Outcome<void> Store::resize(const VolumeRecord& record, int mounted) const {
    const auto found = find(Step::ResizeVolume, record, Place::Volumes);
    if (!found) {
        return std::unexpected(found.error());
    }
    const auto& backend = backend_of(record.backend);
    const int directory = found->directory.get();
    if (auto resized = backend.resize(directory, found->record, record, mounted); !resized) {
        return resized;
    }
    auto written = write_durably(directory, record);
    if (!written && record.backend != protocol::Backend::Image) { // a file that is longer than its record says is none the worse
        if (const auto undone = backend.resize(directory, record, found->record, mounted); !undone) {
            log::error(fmt::format("volume {} has the limit that its record was to say: {}", to_string(record.id),
                                   std::strerror(undone.error().sys_errno)));
        }
    }
    return written;
}

Outcome<Fd> Store::open_image(const VolumeRecord& record) const {
    const auto found = find(Step::OpenVolume, record, Place::Volumes);
    if (!found) {
        return std::unexpected(found.error());
    }
    return image_.open_claimed(found->directory.get(), found->record);
}

Outcome<void> Store::commit_resize(const VolumeRecord& record) const {
    const auto found = find(Step::ResizeVolume, record, Place::Volumes);
    if (!found) {
        return std::unexpected(found.error());
    }
    const int volume = found->directory.get();
    {
        const auto staged = open_volume(own_.staging, record.id);
        if (!staged) {
            return failed(Step::ResizeVolume, staged.error());
        }
        if (auto completed = image_.complete_resized(staged->get(), record); !completed) {
            return completed;
        }
        // Held until the other one is in its place: nobody attaches what is about to be gone.
        const auto claimed = image_.open_claimed(volume, found->record);
        if (!claimed) {
            return std::unexpected(claimed.error());
        }
        // Whatever a crash leaves between the two, the file is not shorter than the record says.
        const bool is_smaller = record.image_bytes < found->record.image_bytes;
        if (is_smaller) {
            if (auto written = write_durably(volume, record); !written) {
                return written;
            }
        }
        auto replaced = ImageBackend::replace(staged->get(), volume);
        if (!replaced) {
            if (is_smaller) {
                if (const auto undone = write_durably(volume, found->record); !undone) {
                    log::error(fmt::format("the record of volume {} says less than it has", to_string(record.id)));
                }
            }
            return replaced;
        }
        if (const auto synced = kernel::sync_to_disk(volume); !synced) {
            return failed(Step::ResizeVolume, synced.error());
        }
        if (!is_smaller) {
            if (auto written = write_durably(volume, record); !written) {
                return written;
            }
        }
    }
    if (const auto removed = remove_staged(record.id); !removed) { // empty; if it stays, the next start removes it
        log::warning(fmt::format("staging/{} could not be removed: {}", to_string(record.id), std::strerror(removed.error().sys_errno)));
    }
    return {};
}

} // namespace joblet::worker
