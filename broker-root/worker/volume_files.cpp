#include "broker-root/worker/volume_files.h"

#include <fcntl.h>

#include <span>

#include <fmt/format.h>

#include "broker-root/kernel/mount.h"
#include "broker-root/worker/record.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::Durability;

constexpr auto kRecord = "record";
constexpr auto kRecordNew = "record.new";
constexpr auto kLabels = "labels";
constexpr auto kLabelsNew = "labels.new";

} // namespace

kernel::Result<Fd> open_volume(const Fd& parent, const VolumeId& id) {
    auto directory = kernel::open_beneath(parent.get(), hex_digits(id.bytes).data(), O_RDONLY | O_DIRECTORY);
    if (!directory) {
        return directory;
    }
    const auto status = kernel::status_of(directory->get());
    const auto store = kernel::status_of(parent.get());
    if (!status || !store) {
        return std::unexpected(!status ? status.error() : store.error());
    }
    if (status->st_uid != 0 || (status->st_mode & 07777U) != kVolumeDirectoryMode || status->st_dev != store->st_dev) {
        return std::unexpected(EUCLEAN);
    }
    return directory;
}

FoundRecord find_record(int directory, const VolumeId& id) {
    const auto file = kernel::open_beneath(directory, kRecord, O_RDONLY);
    if (!file) {
        return {.state = file.error() == ENOENT ? RecordState::Missing : RecordState::Unreadable, .record = {}};
    }
    std::array<std::byte, sizeof(VolumeRecord) + 1> bytes; // one more, so that a longer file is seen to be longer
    const auto size = kernel::read_file(file->get(), bytes);
    const auto record = size ? read_volume_record(std::span(bytes).first(*size), id) : std::nullopt;
    if (!record) {
        return {.state = RecordState::Unreadable, .record = {}};
    }
    return {.state = RecordState::Readable, .record = *record};
}

std::optional<VolumeRecord> record_in(int directory, const VolumeId& id) {
    const auto found = find_record(directory, id);
    return found.state == RecordState::Readable ? std::optional(found.record) : std::nullopt;
}

Outcome<void> write_record(int directory, VolumeRecord record, Durability durability) {
    seal(record);
    const auto written = kernel::replace_file(directory, kRecord, kRecordNew, std::as_bytes(std::span(&record, 1)), durability);
    return written ? Outcome<void>() : failed(Step::WriteRecord, written.error());
}

SizedLabels labels_in(int directory, const VolumeId& id) {
    const auto file = kernel::open_beneath(directory, kLabels, O_RDONLY);
    if (!file && file.error() == ENOENT) {
        return {};
    }
    std::array<std::byte, kLabelsFileMax + 1> bytes; // one more, so that a longer file is seen to be longer
    const auto size = file ? kernel::read_file(file->get(), bytes) : std::unexpected(file.error());
    const auto labels = size ? read_labels(std::span(bytes).first(*size), id) : std::nullopt;
    if (!labels) {
        log::warning(fmt::format("the labels of volume {} are damaged; it has none", to_string(id)));
        return {};
    }
    return *labels;
}

Outcome<void> write_labels(int directory, const VolumeId& id, const SizedLabels& labels) {
    const auto written = labels.size == 0
                             ? kernel::remove_file(directory, kLabels)
                             : kernel::replace_file(directory, kLabels, kLabelsNew, sealed_labels(id, labels), Durability::Synced);
    return written ? Outcome<void>() : failed(Step::WriteLabels, written.error());
}

Outcome<void> remove_own_files(int directory) {
    for (const char* const file : {kLabelsNew, kLabels, kRecordNew, kRecord}) {
        if (const auto removed = kernel::remove_file(directory, file); !removed) {
            return failed(Step::EmptyTrash, removed.error());
        }
    }
    return {};
}

} // namespace joblet::worker
