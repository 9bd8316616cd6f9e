#include "broker-root/broker/slots.h"

#include "broker-root/layout.h"

namespace joblet::broker {

std::optional<std::uint32_t> Slots::take() {
    std::uint32_t slot = 0;
    for (const auto taken : taken_) {
        if (taken != slot) {
            break;
        }
        ++slot;
    }
    if (slot >= count_) {
        return std::nullopt;
    }
    taken_.insert(slot);
    return slot;
}

bool Slots::take_exactly(std::uint32_t slot) {
    return slot < count_ && taken_.insert(slot).second;
}

void Slots::give_back(std::uint32_t slot) {
    taken_.erase(slot);
}

std::uint32_t Slots::first_uid(std::uint32_t slot) const {
    return first_ + slot * kSlotIds;
}

Task<std::expected<Slots::Namespaces, Failure>> Slots::namespaces(std::uint32_t slot) {
    if (const auto found = namespaces_.find(slot); found != namespaces_.end()) {
        co_return Namespaces{found->second.job.get(), found->second.volume.get()};
    }
    spawner::MakeSlot order;
    order.slot_first = first_uid(slot);
    SpawnerReply reply = co_await spawner_.order(order);
    if (!reply.ok()) {
        co_return std::unexpected(reply.failure());
    }
    if (reply.descriptors.size() != 2) {
        co_return std::unexpected(Failure{ErrorCode::Internal, Step::MakeSlot, 0});
    }
    Kept kept{std::move(reply.descriptors[0]), std::move(reply.descriptors[1])};
    const Namespaces out{kept.job.get(), kept.volume.get()};
    namespaces_.insert_or_assign(slot, std::move(kept));
    co_return out;
}

} // namespace joblet::broker
