#include "broker-root/spawner/launch.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "broker-root/layout.h"

namespace joblet::spawner {

static_assert(std::has_unique_object_representations_v<MakeSlot> && std::has_unique_object_representations_v<Launch>);
static_assert(std::has_unique_object_representations_v<Answer> && std::has_unique_object_representations_v<StageReport>);

namespace {

template <class Text> bool is_unused(const Text& text) {
    return text == Text{};
}

bool is_meaningful(const MakeSlot& order) {
    // Whole slots, none of the host's first 65536 ids, nothing of the foreign range
    return order.zero == 0 && order.slot_first % kSlotIds == 0 && order.slot_first >= kSlotIds &&
           order.slot_first <= kForeignFirst - kSlotIds;
}

bool is_meaningful(const MountPoint& volume) {
    if (!volume.name.well_formed() || !is_valid_name(volume.name.view()) || !volume.target.well_formed()) {
        return false;
    }
    return volume.target.empty() || (is_valid_target(volume.target.view()) && !reserved_by(volume.target.view()));
}

bool share_a_place(const MountPoint& a, const MountPoint& b) {
    return a.name == b.name || (!a.target.empty() && !b.target.empty() && targets_overlap(a.target.view(), b.target.view()));
}

bool is_detached(const Launch& order) {
    return (order.flags & kLaunchDetached) != 0;
}

bool are_meaningful_options(const Launch& order) {
    constexpr std::uint32_t kKnown = kLaunchDetached | kLaunchHostNetwork | kLaunchMaskedProc;
    if ((order.flags & ~kKnown) != 0 || order.user > protocol::kInnerIdMax || order.group > protocol::kInnerIdMax ||
        order.timeout_ns > protocol::kTimeoutMax) {
        return false;
    }
    const bool log_fits = order.log_bytes >= protocol::kLogMin && order.log_bytes <= protocol::kVolumeSizeMax;
    if (is_detached(order) ? !log_fits : order.log_bytes != 0) {
        return false;
    }
    return order.kind == worker::JobKind::User || (order.user == 0 && order.group == 0 && (order.flags & kLaunchHostNetwork) == 0);
}

bool is_meaningful(const Launch& order) {
    if (!order.host_name.well_formed() || !is_valid_name(order.host_name.view()) || order.volume_count > order.volumes.size() ||
        (order.kind != worker::JobKind::User && order.kind != worker::JobKind::System) || !are_meaningful_options(order)) {
        return false;
    }
    const auto used = std::span(order.volumes).first(order.volume_count);
    for (std::size_t i = 0; i < used.size(); ++i) {
        const auto collides = [&](const MountPoint& earlier) { return share_a_place(used[i], earlier); };
        if (!is_meaningful(used[i]) || std::ranges::any_of(used.first(i), collides)) {
            return false;
        }
    }
    return std::ranges::all_of(std::span(order.volumes).subspan(order.volume_count),
                               [](const MountPoint& rest) { return is_unused(rest.name) && is_unused(rest.target); });
}

std::size_t descriptors_of(const MakeSlot&) {
    return 0;
}

std::size_t descriptors_of(const Launch& order) {
    return first_volume_of(order) + order.volume_count;
}

template <class T> std::expected<Order, int> decode_as(std::span<const std::byte> bytes, std::size_t descriptor_count) {
    T order;
    if (bytes.size() != sizeof order) {
        return std::unexpected(EBADMSG);
    }
    std::memcpy(&order, bytes.data(), sizeof order);
    if (order.header.zero != 0 || !is_meaningful(order) || descriptor_count != descriptors_of(order)) {
        return std::unexpected(EBADMSG);
    }
    return order;
}

} // namespace

std::size_t first_volume_of(const Launch& order) {
    return kLaunchFixed + (is_detached(order) ? kLaunchLogFiles : 0);
}

std::expected<Order, int> decode_order(std::span<const std::byte> bytes, std::size_t descriptor_count) {
    OrderHeader header;
    if (bytes.size() < sizeof header) {
        return std::unexpected(EBADMSG);
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    switch (header.type) {
    case OrderType::MakeSlot:
        return decode_as<MakeSlot>(bytes, descriptor_count);
    case OrderType::Launch:
        return decode_as<Launch>(bytes, descriptor_count);
    }
    return std::unexpected(EBADMSG);
}

} // namespace joblet::spawner
