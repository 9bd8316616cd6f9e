#include "broker-root/worker/orders.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <type_traits>

#include "broker-root/layout.h"
#include "broker-root/worker/record.h"

namespace joblet::worker {
namespace {

using protocol::Backend;

bool is_flag(std::uint32_t value) {
    return value <= 1;
}

bool is_name(const NameText& text) {
    return text.well_formed() && is_valid_name(text.view());
}

bool is_slot(std::uint32_t first) {
    return first >= kSlotIds && first % kSlotIds == 0 && first < kForeignFirst;
}

bool is_size(std::uint64_t bytes) {
    return bytes >= protocol::kVolumeSizeMin && bytes <= protocol::kVolumeSizeMax;
}

bool is_sound(const LoadVolumes&) {
    return true;
}
bool is_sound(const LoadJobs& order) {
    return order.zero == 0 && is_flag(order.remove_leftovers);
}
bool is_sound(const FinishJob& order) {
    return !order.id.is_none() && order.zero == 0 && is_flag(order.at_once);
}
bool is_sound(const LoadBases&) {
    return true;
}
bool is_sound(const Survey&) {
    return true;
}
bool is_sound(const SyncFile&) {
    return true;
}
bool is_sound(const StageVolume& order) {
    const bool image = order.record.backend == Backend::Image;
    return is_flag(order.image_is_larger) && (image || order.image_is_larger == 0) && is_sound(order.record) &&
           (order.record.backend == Backend::Image ? is_slot(order.slot_first) : order.slot_first == 0);
}
bool are_labels(const Labels& labels, std::uint32_t size) {
    return size <= labels.size() && std::all_of(labels.begin() + size, labels.end(), [](std::uint8_t byte) { return byte == 0; });
}
bool is_sound(const CommitVolume& order) {
    return is_flag(order.into_trash) && is_sound(order.record) && are_labels(order.labels, order.labels_size);
}
bool is_sound(const UpdateRecord& order) {
    return order.zero == 0 && is_flag(order.durable) && is_sound(order.record);
}
bool is_sound(const TrashVolume& order) {
    return order.zero == 0 && is_flag(order.forced) && is_sound(order.record);
}
bool is_sound(const RestoreVolume& order) {
    return is_sound(order.record);
}
bool is_sound(const MeasureVolume& order) {
    return order.zero == 0 && is_flag(order.in_trash) && is_sound(order.record);
}
bool is_sound(const ResizeVolume& order) {
    return is_sound(order.record);
}
template <class O>
concept ResizesByACopy = std::is_same_v<O, OpenImage> || std::is_same_v<O, CommitResize>;
bool is_sound(const ResizesByACopy auto& order) {
    return is_sound(order.record) && order.record.backend == Backend::Image;
}
bool is_sound(const SetLabels& order) {
    return !order.id.is_none() && order.zero == 0 && are_labels(order.labels, order.labels_size);
}
template <class O>
concept OnlyNamesAnId =
    std::is_same_v<O, DiscardStaging> || std::is_same_v<O, EmptyTrash> || std::is_same_v<O, ReleaseJob> || std::is_same_v<O, OpenLog>;
bool is_sound(const OnlyNamesAnId auto& order) {
    return !order.id.is_none();
}

bool is_sound(const MountVolume& volume) {
    const bool backend = volume.backend == Backend::Image || volume.backend == Backend::Tmpfs || volume.backend == Backend::Btrfs ||
                         volume.backend == Backend::ProjectQuota;
    const bool access = volume.access == protocol::Access::ReadWrite || volume.access == protocol::Access::ReadOnly;
    return !volume.id.is_none() && is_name(volume.name) && is_mount_target(volume.target) && is_size(volume.size_bytes) &&
           volume.inodes <= volume.size_bytes / protocol::kBytesPerInodeMin && backend && access;
}

bool is_all_zero(const MountVolume& volume) {
    return std::ranges::all_of(std::as_bytes(std::span(&volume, 1)), [](std::byte byte) { return byte == std::byte{}; });
}

bool collide(const MountVolume& a, const MountVolume& b) {
    return a.id == b.id || a.name == b.name ||
           (!a.target.empty() && !b.target.empty() && targets_overlap(a.target.view(), b.target.view()));
}

// The i-th of the job's, in its record as in the order.
bool is_entry(const MountVolume& volume, const JobRecord& record, std::size_t i) {
    return volume.id == record.volumes[i] && volume.access == record.access[i] && volume.target == record.targets[i];
}

bool is_sound(const PrepareJob& order) {
    const bool system = order.record.kind == static_cast<std::uint32_t>(JobKind::System);
    const bool base = order.base.well_formed() && (system ? order.base.view() == kSystemBase : is_valid_name(order.base.view()));
    if (!is_sound(order.record) || !base || !is_slot(order.slot_first) || order.volume_count != order.record.volume_count ||
        order.work_bytes == 0 || order.tmp_bytes == 0 || order.shm_bytes == 0 || (order.flags & ~kPrepareReadOnlyWork) != 0 ||
        (!system && order.volume_owner != 0)) {
        return false;
    }
    for (std::size_t i = 0; i < order.volumes.size(); ++i) {
        const auto& volume = order.volumes[i];
        if (i >= order.volume_count) {
            if (!is_all_zero(volume)) {
                return false;
            }
            continue;
        }
        if (!is_sound(volume) || !is_entry(volume, order.record, i)) {
            return false;
        }
        for (std::size_t j = 0; j < i; ++j) {
            if (collide(order.volumes[j], volume)) {
                return false;
            }
        }
    }
    return true;
}

bool is_sound(const AttachVolume& order) {
    const auto count = order.record.volume_count;
    return order.zero == 0 && is_sound(order.record) && order.record.kind == static_cast<std::uint32_t>(JobKind::User) &&
           is_sound(order.volume) && order.volume.target.empty() && is_slot(order.slot_first) && count != 0 &&
           is_entry(order.volume, order.record, count - 1);
}
bool is_sound(const DetachVolume& order) {
    return is_sound(order.record) && is_name(order.name) && is_mount_target(order.target);
}

template <class O> std::expected<Order, int> decode_as(std::span<const std::byte> bytes) {
    static_assert(std::is_trivially_copyable_v<O> && std::has_unique_object_representations_v<O> && sizeof(O) <= kOrderSizeMax);
    O order;
    if (bytes.size() != sizeof order) {
        return std::unexpected(EBADMSG);
    }
    std::memcpy(&order, bytes.data(), sizeof order);
    if (order.header.zero != 0 || !is_sound(order)) {
        return std::unexpected(EBADMSG);
    }
    return order;
}

// As the one alternative of Order that has this type.
template <class... Orders>
std::expected<Order, int> decode_one_of(OrderType type, std::span<const std::byte> bytes, std::variant<Orders...>*) {
    std::expected<Order, int> out = std::unexpected(EBADMSG);
    const auto try_one = [&]<class O>(std::type_identity<O>) {
        if (O::kType == type) {
            out = decode_as<O>(bytes);
        }
    };
    (try_one(std::type_identity<Orders>{}), ...);
    return out;
}

} // namespace

std::expected<Order, int> decode_order(std::span<const std::byte> bytes) {
    OrderHeader header;
    if (bytes.size() < sizeof header) {
        return std::unexpected(EBADMSG);
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    return decode_one_of(header.type, bytes, static_cast<Order*>(nullptr));
}

} // namespace joblet::worker
