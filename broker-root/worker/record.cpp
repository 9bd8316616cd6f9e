#include "broker-root/worker/record.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "shared/protocol_fields.h"

namespace joblet::worker {
namespace {

using protocol::Access;
using protocol::Backend;

using Checksum = decltype(VolumeRecord::checksum);

template <class Record> Checksum checksum_of(const Record& record) {
    static_assert(std::is_trivially_copyable_v<Record> && std::has_unique_object_representations_v<Record>);
    static_assert(offsetof(Record, checksum) + sizeof record.checksum == sizeof record);
    Checksum out{};
    crypto_generichash(out.data(), out.size(), reinterpret_cast<const unsigned char*>(&record), offsetof(Record, checksum), nullptr, 0);
    return out;
}

template <class Record, class IdType> std::optional<Record> read_record(std::span<const std::byte> bytes, const IdType& id) {
    Record record;
    if (bytes.size() != sizeof record) {
        return std::nullopt;
    }
    std::memcpy(&record, bytes.data(), sizeof record);
    if (record.checksum != checksum_of(record) || record.id != id || !is_sound(record)) {
        return std::nullopt;
    }
    return record;
}

bool is_sound_quota(const VolumeRecord& record) {
    const bool has_quota = record.backend == Backend::ProjectQuota;
    if (!has_quota) {
        return record.project_id == 0 && record.soft_size_bytes == 0 && record.soft_inodes == 0;
    }
    return record.project_id >= kProjectFirst && record.project_id <= kProjectLast && record.soft_size_bytes < record.size_bytes &&
           (record.soft_inodes == 0 || record.inodes == 0 || record.soft_inodes < record.inodes);
}

} // namespace

bool is_sound(const VolumeRecord& record) {
    const bool has_image = record.backend == Backend::Image;
    return record.magic == kVolumeRecordMagic && record.version == kVolumeRecordVersion && record.size == sizeof(VolumeRecord) &&
           !record.id.is_none() && record.name.well_formed() && is_valid_name(record.name.view()) && record.backend != Backend::Auto &&
           protocol::fits(record.backend, record.type) && record.size_bytes >= protocol::kVolumeSizeMin &&
           record.size_bytes <= protocol::kVolumeSizeMax && record.inodes <= record.size_bytes / protocol::kBytesPerInodeMin &&
           record.image_bytes <= INT64_MAX && (has_image || record.image_bytes == 0) && (record.flags & ~protocol::kVolumeProtected) == 0 &&
           record.zero == 0 && record.created_ns >= 0 && record.last_used_ns >= 0 && record.trashed_until_ns >= 0 &&
           is_sound_quota(record) && protocol::are_io_limits(record.io) &&
           std::ranges::all_of(record.reserved, [](auto byte) { return byte == 0; });
}

bool is_sound(const JobRecord& record) {
    const auto count = record.volume_count;
    if (record.magic != kJobRecordMagic || record.version != kJobRecordVersion || record.size != sizeof(JobRecord) || record.id.is_none() ||
        record.kind > static_cast<std::uint32_t>(JobKind::System) || count > record.volumes.size() || record.zero != 0 ||
        !protocol::are_job_limits(record.limits)) {
        return false;
    }
    const bool may_have_log = record.kind == static_cast<std::uint32_t>(JobKind::User);
    if ((record.flags & ~(may_have_log ? kJobHasLog : 0)) != 0) {
        return false;
    }
    for (std::size_t i = 0; i < record.volumes.size(); ++i) {
        const bool used = i < count;
        const bool known = record.access[i] == Access::ReadWrite || record.access[i] == Access::ReadOnly;
        if (!known || record.volumes[i].is_none() == used || (!used && record.access[i] != Access{})) {
            return false;
        }
        const auto earlier = std::span(record.volumes).first(used ? i : 0);
        if (std::ranges::find(earlier, record.volumes[i]) != earlier.end()) {
            return false;
        }
        if (used ? !is_mount_target(record.targets[i]) : record.targets[i] != TargetText{}) {
            return false;
        }
    }
    return true;
}

bool is_mount_target(const TargetText& text) {
    return text.well_formed() && (text.empty() || (is_valid_target(text.view()) && !reserved_by(text.view())));
}

bool start_checksums() {
    return sodium_init() >= 0;
}

void seal(VolumeRecord& record) {
    record.checksum = checksum_of(record);
}

void seal(JobRecord& record) {
    record.checksum = checksum_of(record);
}

std::optional<VolumeRecord> read_volume_record(std::span<const std::byte> bytes, const VolumeId& id) {
    return read_record<VolumeRecord>(bytes, id);
}

std::optional<JobRecord> read_job_record(std::span<const std::byte> bytes, const JobId& id) {
    return read_record<JobRecord>(bytes, id);
}

} // namespace joblet::worker
