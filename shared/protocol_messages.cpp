#include "shared/protocol_messages.h"

#include <algorithm>
#include <cstring>

#include "shared/protocol_fields.h"

namespace joblet::protocol {

namespace {

constexpr std::int64_t kTimeMin = 0;

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
           (v.flags & ~(kVolumeProtected | kVolumeNoSwap)) == 0 && are_io_limits(v.io);
}
bool valid(const JobEntry& j) {
    return !j.id.is_none() && j.state >= JobState::Starting && j.state <= JobState::Ended && valid(j.exit, j.state) &&
           j.volume_count <= kJobVolumesMax && j.zero == 0 && are_job_limits(j.limits);
}
bool valid(const Reply& r) {
    const auto row = std::ranges::find(kRequests, r.request, &RequestRow::type);
    return row != kRequests.end() && static_cast<std::uint32_t>(r.code) < kErrorCodeCount &&
           static_cast<std::uint32_t>(r.step) < kStepCount && r.sequence != 0 &&
           r.which <= static_cast<std::uint32_t>(LimitKind::ChannelsPerConnection) && r.count <= kDifferencesMax && r.sys_errno >= 0;
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
    return valid(w.reply) && known(w.proc) && w.zero == 0 && are_job_limits(w.limits);
}
bool valid(const VolumeMeasure& m) {
    return valid(m.reply) && m.usage.bytes_grace_ns >= kTimeMin && m.usage.inodes_grace_ns >= kTimeMin;
}
bool valid(const BackendReport& b) {
    return known(b.backend) && static_cast<std::uint32_t>(b.code) < kErrorCodeCount && static_cast<std::uint32_t>(b.step) < kStepCount &&
           b.sys_errno >= 0;
}
bool valid(const HostFacts& f) {
    return valid(f.reply) && known(static_cast<Backend>(f.chosen_backend)) &&
           ((f.controllers | f.required_controllers) & ~kControllersAll) == 0 &&
           (f.flags & ~(kHostSurveyed | kHostNoSwap | kHostOnlineGrow)) == 0 && f.device_count <= f.devices.size() && f.audit_errno >= 0 &&
           f.zero == 0 && std::ranges::all_of(f.backends, [](const auto& backend) { return valid(backend); }) &&
           std::ranges::all_of(std::span(f.differences).first(f.reply.count), [](const Difference& one) {
               return static_cast<std::uint32_t>(one.kind) - 1 < kDifferenceKindCount - 1 && one.zero == 0;
           });
}
bool valid(const BaseList& l) {
    return valid(l.reply) && l.reply.count <= l.bases.size() &&
           std::ranges::all_of(std::span(l.bases).first(l.reply.count),
                               [](const BaseEntry& base) { return is_name(base.name) && known(base.proc) && base.is_usable <= 1; });
}
bool valid(const Connection& c) {
    return c.number != 0 && c.admin <= 1 && c.refusal <= ConnectionRefusal::TooMany &&
           (c.allowed != 0) == (c.refusal == ConnectionRefusal::TooMany);
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
        case RequestType::MeasureVolume:
            return decode_message_as<VolumeMeasure>(bytes, descriptor_count);
        case RequestType::HostReport:
            return decode_message_as<HostFacts>(bytes, descriptor_count);
        case RequestType::OpenLog:
            return decode_message_as<Reply>(bytes, descriptor_count, kLogDescriptors);
        case RequestType::CreateChannel:
            return decode_message_as<Reply>(bytes, descriptor_count, kChannelDescriptors);
        default:
            break;
        }
    }
    return decode_message_as<Reply>(bytes, descriptor_count);
}

} // namespace

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
