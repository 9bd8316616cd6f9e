#include "shared/protocol.h"

#include <algorithm>
#include <cstring>
#include <ranges>

#include "shared/protocol_fields.h"

namespace joblet::protocol {

namespace {

constexpr std::uint32_t kSignalMax = 31;

bool operator==(const JobVolume& a, const JobVolume& b) {
    return a.id == b.id && a.target == b.target && a.access == b.access && a.zero == b.zero;
}

// ---- what each request's fields must be

bool valid(const CreateVolume& r) {
    return is_name(r.name) && known(r.type) && fits(r.backend, r.type) && r.size_bytes >= kVolumeSizeMin &&
           r.size_bytes <= kVolumeSizeMax && r.inodes <= r.size_bytes / kBytesPerInodeMin && r.zero == 0 &&
           labels_fit(r.labels, r.labels_size) && is_soft_limit(r.soft_size_bytes, r.size_bytes) &&
           is_soft_limit(r.soft_inodes, r.inodes) && r.soft_inodes <= r.size_bytes / kBytesPerInodeMin && are_io_limits(r.io) &&
           (r.type != VolumeType::Memory || r.io == IoLimits{});
}
bool valid(const DeleteVolume& r) {
    return !r.id.is_none() && known(r.authority) && (r.flags & ~(kDeleteForce | kDeleteNow | kDeleteWait)) == 0 &&
           ((r.flags & kDeleteWait) == 0 || (r.flags & kDeleteNow) != 0);
}
bool valid(const StatVolume& r) {
    return !r.id.is_none();
}
bool valid(const ListVolumes& /*any id is a position*/) {
    return true;
}
bool valid(const StartJob& r) {
    constexpr std::uint32_t kFlags = kStartDetached | kStartHostNetwork | kStartReadOnlyWork | kStartDryRun;
    const auto is_size = [](std::uint64_t bytes, std::uint64_t least) { return bytes == 0 || (bytes >= least && bytes <= kVolumeSizeMax); };
    if (!is_name(r.base) || !(r.host_name.well_formed() && (r.host_name.empty() || is_valid_name(r.host_name.view()))) ||
        r.volume_count > kJobVolumesMax || (r.flags & ~kFlags) != 0 || r.user > kInnerIdMax || r.group > kInnerIdMax ||
        r.timeout_ns > kTimeoutMax || !is_size(r.work_bytes, kScratchMin) || !is_size(r.tmp_bytes, kScratchMin) ||
        !is_size(r.log_bytes, kLogMin) || !is_size(r.memory_bytes, kMemoryMin) || r.swap_bytes > kVolumeSizeMax ||
        (r.processes != 0 && (r.processes < kProcessesMin || r.processes > kProcessesMax)) ||
        (r.cpu_milli != 0 && (r.cpu_milli < kCpuMilliMin || r.cpu_milli > kCpuMilliMax)) || !are_io_limits(r.io) ||
        (r.log_bytes != 0 && (r.flags & kStartDetached) == 0) || (r.channel == 0) != ((r.flags & kStartDryRun) != 0)) {
        return false;
    }
    const auto used = std::span(r.volumes).first(r.volume_count);
    for (std::size_t i = 0; i < used.size(); ++i) {
        const JobVolume& volume = used[i];
        if (volume.id.is_none() || !is_free_target(volume.target) || !known(volume.access) || volume.zero != 0) {
            return false;
        }
        for (const JobVolume& other : used.first(i)) {
            if (other.id == volume.id ||
                (!volume.target.empty() && !other.target.empty() && targets_overlap(volume.target.view(), other.target.view()))) {
                return false;
            }
        }
    }
    return std::ranges::all_of(std::span(r.volumes).subspan(r.volume_count), [](const JobVolume& volume) { return volume == JobVolume{}; });
}
bool valid(const SignalJob& r) {
    return !r.id.is_none() && r.signal >= 1 && r.signal <= kSignalMax && known(r.authority);
}
bool valid(const ListJobs& /*any id is a position*/) {
    return true;
}
bool valid(const ReleaseJob& r) {
    return !r.id.is_none() && known(r.authority) && r.zero == 0;
}
bool valid(const CloseConnection& /*the header says all*/) {
    return true;
}
bool valid(const RestoreVolume& r) {
    return !r.id.is_none() && r.name.well_formed() && (r.name.empty() || is_valid_name(r.name.view()));
}
bool valid(const ProtectVolume& r) {
    return !r.id.is_none() && known(r.authority) && r.is_protected <= 1;
}
bool valid(const LabelVolume& r) {
    return !r.id.is_none() && r.zero == 0 && labels_fit(r.labels, r.labels_size);
}
bool valid(const RenameVolume& r) {
    return !r.id.is_none() && is_name(r.name);
}
bool valid(const AttachVolume& r) {
    return !r.id.is_none() && !r.job.is_none() && known(r.access) && r.zero == 0;
}
bool valid(const DetachVolume& r) {
    return !r.id.is_none() && !r.job.is_none();
}
bool valid(const OpenLog& r) {
    return !r.id.is_none() && known(r.authority) && r.zero == 0;
}
bool valid(const ListBases& /*the header says all*/) {
    return true;
}
bool valid(const ResizeVolume& r) {
    const auto soft = [](std::uint64_t value, std::uint64_t hard) { return value == kNoSoftLimit || is_soft_limit(value, hard); };
    return !r.id.is_none() && (r.size_bytes == 0 || (r.size_bytes >= kVolumeSizeMin && r.size_bytes <= kVolumeSizeMax)) &&
           r.inodes <= kVolumeSizeMax / kBytesPerInodeMin && soft(r.soft_size_bytes, r.size_bytes) && soft(r.soft_inodes, r.inodes) &&
           (r.size_bytes != 0 || r.inodes != 0 || r.soft_size_bytes != 0 || r.soft_inodes != 0);
}
bool valid(const MeasureVolume& r) {
    return !r.id.is_none() && known(r.authority) && r.zero == 0;
}
bool valid(const HostReport& r) {
    return known(r.authority) && r.zero == 0;
}
bool valid(const CreateChannel& /*any number may be a channel's, or no channel's any more*/) {
    return true;
}
bool valid(const AdminRead& r) {
    return r.everybody <= 1 && (r.uid == 0 || (r.id.is_none() && r.everybody == 0)) && (r.everybody == 0 || r.id.is_none());
}

template <class R> std::expected<Request, DecodeError> decode_as(std::span<const std::byte> bytes) {
    static_assert(std::is_trivially_copyable_v<R> && std::has_unique_object_representations_v<R>);
    R request;
    std::memcpy(&request, bytes.data(), sizeof request);
    if (!valid(request)) {
        return std::unexpected(DecodeError::Field);
    }
    return request;
}

using Decoder = std::expected<Request, DecodeError> (*)(std::span<const std::byte>);
template <std::size_t... I> constexpr std::array<Decoder, sizeof...(I)> make_decoders(std::index_sequence<I...> /*rows*/) {
    return {decode_as<std::variant_alternative_t<I, Request>>...};
}
// In the order of the variant, which is that of kRequests (asserted below).
constexpr auto kDecoders = make_decoders(std::make_index_sequence<std::variant_size_v<Request>>());

template <std::size_t... I> constexpr bool rows_match_variant(std::index_sequence<I...> /*rows*/) {
    return ((kRequests[I].type == std::variant_alternative_t<I, Request>::kType &&
             kRequests[I].size == sizeof(std::variant_alternative_t<I, Request>)) &&
            ...);
}
static_assert(rows_match_variant(std::make_index_sequence<std::variant_size_v<Request>>()));

} // namespace

std::string_view volume_type_name(VolumeType type) {
    return type == VolumeType::Memory ? "memory" : "filesystem";
}

std::string_view backend_name(Backend backend) {
    switch (backend) {
    case Backend::Image:
        return "image";
    case Backend::Tmpfs:
        return "tmpfs";
    case Backend::ProjectQuota:
        return "project-quota";
    case Backend::Btrfs:
        return "btrfs";
    case Backend::Auto:
        break;
    }
    return "auto";
}

std::string_view volume_status_name(VolumeStatus status) {
    switch (status) {
    case VolumeStatus::Available:
        return "available";
    case VolumeStatus::InUse:
        return "in_use";
    case VolumeStatus::Trashed:
        return "trashed";
    case VolumeStatus::Quarantined:
        break;
    }
    return "quarantined";
}

std::expected<Request, DecodeError> decode(std::span<const std::byte> bytes) {
    RequestHeader header;
    if (bytes.size() < sizeof header) {
        return std::unexpected(DecodeError::Size);
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.version != kVersion) {
        return std::unexpected(DecodeError::Version);
    }
    const auto row = std::ranges::find(kRequests, header.type, &RequestRow::type);
    if (row == kRequests.end()) {
        return std::unexpected(DecodeError::Type);
    }
    if (bytes.size() != row->size) {
        return std::unexpected(DecodeError::Size);
    }
    if (header.sequence == 0 || (row->asker == Asker::User && header.connection == 0) ||
        (row->asker == Asker::Housekeeping && header.connection != 0)) {
        return std::unexpected(DecodeError::Field);
    }
    return kDecoders[static_cast<std::size_t>(row - kRequests.begin())](bytes);
}

const RequestRow& row_of(RequestType type) {
    return *std::ranges::find(kRequests, type, &RequestRow::type);
}

const RequestHeader& header_of(const Request& request) {
    return std::visit([](const auto& r) -> const RequestHeader& { return r.header; }, request);
}

} // namespace joblet::protocol
