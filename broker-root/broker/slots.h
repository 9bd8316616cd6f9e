// Slots: 65,536 host uids each, that no other live job has.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <set>
#include <unordered_map>

#include "broker-root/broker/spawner_link.h"
#include "broker-root/broker/task.h"
#include "shared/error.h"
#include "shared/fd.h"

namespace joblet::broker {

class Slots {
  public:
    struct Namespaces {
        int job = -1;    // J; both are kept by Slots
        int volume = -1; // V
    };

    Slots(SpawnerLink& spawner, std::uint32_t first, std::uint32_t count) : spawner_(spawner), first_(first), count_(count) {}

    // The lowest free slot, so that few namespaces serve many jobs. nullopt: all are taken.
    std::optional<std::uint32_t> take();
    // At recovery. False if it is taken or out of range.
    bool take_exactly(std::uint32_t slot);
    // Only when no process of the slot is left.
    void give_back(std::uint32_t slot);

    [[nodiscard]] std::uint32_t first_uid(std::uint32_t slot) const;
    [[nodiscard]] std::uint32_t count() const {
        return count_;
    }
    [[nodiscard]] std::uint32_t used() const {
        return static_cast<std::uint32_t>(taken_.size());
    }

    // Made by the spawner at first use, then kept.
    Task<std::expected<Namespaces, Failure>> namespaces(std::uint32_t slot);

  private:
    struct Kept {
        Fd job;
        Fd volume;
    };

    SpawnerLink& spawner_;
    std::uint32_t first_;
    std::uint32_t count_;
    std::set<std::uint32_t> taken_;
    std::unordered_map<std::uint32_t, Kept> namespaces_;
};

} // namespace joblet::broker
