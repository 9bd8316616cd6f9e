#include "shared/protocol.h"

#include <algorithm>
#include <cstring>
#include <ranges>

namespace joblet::protocol {

namespace {

constexpr std::uint32_t kSignalMax = 31;
constexpr std::int64_t kTimeMin = 0;

bool known(VolumeType type) {
    return type == VolumeType::Filesystem || type == VolumeType::Memory;
}
bool known(Access access) {
    return access == Access::ReadWrite || access == Access::ReadOnly;
}
bool known(Authority authority) {
    return authority == Authority::User || authority == Authority::Admin;
}
bool known(VolumeStatus status) {
    return status >= VolumeStatus::Available && status <= VolumeStatus::Quarantined;
}
bool fits(Backend backend, VolumeType type) {
    switch (backend) {
    case Backend::Auto:
        return true;
    case Backend::Image:
    case Backend::Btrfs:
        return type == VolumeType::Filesystem;
    case Backend::Tmpfs:
        return type == VolumeType::Memory;
    }
    return false;
}
bool is_name(const NameText& text) {
    return text.well_formed() && is_valid_name(text.view());
}
bool is_free_target(const TargetText& text) {
    return text.well_formed() && (text.empty() || (is_valid_target(text.view()) && !reserved_by(text.view())));
}
bool labels_fit(std::span<const std::uint8_t> labels, std::uint32_t size) {
    return size <= labels.size() && std::ranges::all_of(labels.subspan(size), [](std::uint8_t byte) { return byte == 0; });
}
bool operator==(const JobVolume& a, const JobVolume& b) {
    return a.id == b.id && a.target == b.target && a.access == b.access && a.zero == b.zero;
}

// ---- what each request's fields must be

bool valid(const CreateVolume& r) {
    return is_name(r.name) && known(r.type) && fits(r.backend, r.type) && r.size_bytes >= kVolumeSizeMin &&
           r.size_bytes <= kVolumeSizeMax && r.inodes <= r.size_bytes / kBytesPerInodeMin && r.zero == 0 &&
           labels_fit(r.labels, r.labels_size);
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
        !is_size(r.log_bytes, kLogMin) || (r.log_bytes != 0 && (r.flags & kStartDetached) == 0)) {
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

// ---- what the broker's messages must be

bool valid(const ExitRecord& exit, JobState state) {
    if (state != JobState::Ended) {
        return exit.magic == 0 && exit.kind == ExitKind::None;
    }
    ExitRecord of_a_stage = exit;
    of_a_stage.flags &= ~kExitOutOfMemory; // which only the broker sees
    return exit.kind == ExitKind::Killed ? exit.magic == kExitMagic : is_valid(of_a_stage);
}
bool valid(const VolumeEntry& v) {
    return !v.id.is_none() && is_name(v.name) && known(v.type) && v.backend != Backend::Auto && fits(v.backend, v.type) &&
           known(v.status) && v.labels_size <= kLabelsMax && v.created_ns >= kTimeMin && v.last_used_ns >= kTimeMin &&
           v.trashed_until_ns >= kTimeMin && (v.trashed_until_ns != 0) == (v.status == VolumeStatus::Trashed) &&
           (v.flags & ~kVolumeProtected) == 0;
}
bool valid(const JobEntry& j) {
    return !j.id.is_none() && j.state >= JobState::Starting && j.state <= JobState::Ended && valid(j.exit, j.state) &&
           j.volume_count <= kJobVolumesMax && j.zero == 0;
}
bool valid(const Reply& r) {
    const auto row = std::ranges::find(kRequests, r.request, &RequestRow::type);
    return row != kRequests.end() && static_cast<std::uint32_t>(r.code) < kErrorCodeCount &&
           static_cast<std::uint32_t>(r.step) < kStepCount && r.sequence != 0 &&
           r.which <= static_cast<std::uint32_t>(LimitKind::LogSize) && r.count <= kBasesMax && r.sys_errno >= 0;
}
bool valid(const VolumePage& p) {
    if (!valid(p.reply) || p.reply.count > p.volumes.size()) {
        return false;
    }
    std::size_t labels = 0;
    for (const auto& volume : std::span(p.volumes).first(p.reply.count)) {
        if (!valid(volume)) {
            return false;
        }
        labels += volume.labels_size;
    }
    return labels_fit(p.labels, static_cast<std::uint32_t>(labels));
}
bool valid(const VolumeDetail& d) {
    return valid(d.reply) && (d.reply.code != ErrorCode::Ok || (valid(d.volume) && labels_fit(d.labels, d.volume.labels_size)));
}
bool valid(const JobPage& p) {
    return valid(p.reply) && p.reply.count <= p.jobs.size() &&
           std::ranges::all_of(std::span(p.jobs).first(p.reply.count), [](const auto& j) { return valid(j); });
}
bool known(ProcKind proc) {
    return proc == ProcKind::Pids || proc == ProcKind::Masked;
}
bool valid(const JobWorld& w) {
    return valid(w.reply) && known(w.proc) && w.zero == 0;
}
bool valid(const BaseList& l) {
    return valid(l.reply) && std::ranges::all_of(std::span(l.bases).first(l.reply.count), [](const BaseEntry& base) {
               return is_name(base.name) && known(base.proc) && base.is_usable <= 1;
           });
}
bool valid(const Connection& c) {
    return c.number != 0 && c.admin <= 1 && c.zero == 0;
}
bool valid(const VolumeChanged& c) {
    return c.zero == 0 && valid(c.volume) && labels_fit(c.labels, c.volume.labels_size);
}
bool valid(const VolumeGone& g) {
    return g.zero == 0 && !g.id.is_none();
}
bool valid(const JobChanged& c) {
    return c.zero == 0 && valid(c.job);
}

template <class M>
std::expected<Message, DecodeError> decode_message_as(std::span<const std::byte> bytes, std::size_t descriptor_count,
                                                      std::size_t wanted = std::is_same_v<M, Connection> ? 1 : 0) {
    static_assert(std::is_trivially_copyable_v<M> && std::has_unique_object_representations_v<M>);
    M message;
    if (bytes.size() != sizeof message) {
        return std::unexpected(DecodeError::Size);
    }
    if (descriptor_count != wanted) {
        return std::unexpected(DecodeError::Descriptors);
    }
    std::memcpy(&message, bytes.data(), sizeof message);
    if (!valid(message)) {
        return std::unexpected(DecodeError::Field);
    }
    return message;
}

std::expected<Message, DecodeError> decode_reply(std::span<const std::byte> bytes, std::size_t descriptor_count) {
    Reply reply;
    if (bytes.size() < sizeof reply) {
        return std::unexpected(DecodeError::Size);
    }
    std::memcpy(&reply, bytes.data(), sizeof reply);
    // A refusal is a bare Reply whatever was asked
    if (reply.code == ErrorCode::Ok) {
        switch (reply.request) {
        case RequestType::ListVolumes:
            return decode_message_as<VolumePage>(bytes, descriptor_count);
        case RequestType::StatVolume:
            return decode_message_as<VolumeDetail>(bytes, descriptor_count);
        case RequestType::ListJobs:
            return decode_message_as<JobPage>(bytes, descriptor_count);
        case RequestType::StartJob:
            return decode_message_as<JobWorld>(bytes, descriptor_count);
        case RequestType::ListBases:
            return decode_message_as<BaseList>(bytes, descriptor_count);
        case RequestType::OpenLog:
            return decode_message_as<Reply>(bytes, descriptor_count, kLogDescriptors);
        default:
            break;
        }
    }
    return decode_message_as<Reply>(bytes, descriptor_count);
}

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

std::expected<Request, DecodeError> decode(std::span<const std::byte> bytes, std::size_t descriptor_count) {
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
    if (descriptor_count != row->descriptor_count) {
        return std::unexpected(DecodeError::Descriptors);
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

std::expected<Message, DecodeError> decode_message(std::span<const std::byte> bytes, std::size_t descriptor_count) {
    MessageType type{};
    if (bytes.size() < sizeof type) {
        return std::unexpected(DecodeError::Size);
    }
    std::memcpy(&type, bytes.data(), sizeof type);
    switch (type) {
    case MessageType::Reply:
        return decode_reply(bytes, descriptor_count);
    case MessageType::Connection:
        return decode_message_as<Connection>(bytes, descriptor_count);
    case MessageType::VolumeChanged:
        return decode_message_as<VolumeChanged>(bytes, descriptor_count);
    case MessageType::VolumeGone:
        return decode_message_as<VolumeGone>(bytes, descriptor_count);
    case MessageType::JobChanged:
        return decode_message_as<JobChanged>(bytes, descriptor_count);
    }
    return std::unexpected(DecodeError::Type);
}

} // namespace joblet::protocol
