// What fields mean that more than one fuzzer meets, in other words than the decoders'.
#pragma once

#include <string>
#include <string_view>

#include "shared/protocol_messages.h"

namespace joblet::fuzz {

inline bool is_name(const NameText& text) {
    const std::string_view raw(text.data.data(), text.data.size());
    const auto end = raw.find('\0');
    return end != std::string_view::npos && raw.find_first_not_of('\0', end) == std::string_view::npos && is_valid_name(raw.substr(0, end));
}
inline bool is_name_or_none(const NameText& text) {
    return text == NameText() || is_name(text);
}
inline bool is_target_or_none(const TargetText& text) {
    const std::string_view raw(text.data.data(), text.data.size());
    const auto end = raw.find('\0');
    if (end == std::string_view::npos || raw.find_first_not_of('\0', end) != std::string_view::npos) {
        return false;
    }
    return end == 0 || (is_valid_target(raw.substr(0, end)) && !reserved_by(raw.substr(0, end)));
}
template <class Bytes> bool is_zero_from(const Bytes& bytes, std::size_t from) {
    return from <= bytes.size() &&
           std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.end(), [](auto b) { return b == 0; });
}
inline bool is_limit(std::uint64_t value, std::uint64_t least) {
    return value == 0 || (value >= least && value <= std::uint64_t{1} << 50U);
}
inline bool is_io(const protocol::IoLimits& io) {
    return is_limit(io.read_bytes, 4096) && is_limit(io.write_bytes, 4096) && is_limit(io.read_operations, 2) &&
           is_limit(io.write_operations, 2);
}
inline bool is_volume_size(std::uint64_t bytes) {
    return bytes >= std::uint64_t{1} << 20U && bytes <= std::uint64_t{1} << 50U;
}
inline bool is_stored(protocol::VolumeType type, protocol::Backend backend) {
    return (type == protocol::VolumeType::Memory && backend == protocol::Backend::Tmpfs) ||
           (type == protocol::VolumeType::Filesystem &&
            (backend == protocol::Backend::Image || backend == protocol::Backend::Btrfs || backend == protocol::Backend::ProjectQuota));
}

} // namespace joblet::fuzz
