// All volumes, in memory: what the records say, who holds what, who may have how much. Decides nothing about disks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "broker-root/worker/orders.h"
#include "shared/id.h"
#include "shared/protocol.h"

namespace joblet::broker {

struct Holder {
    JobId job;
    protocol::Access access{};
};

struct Volume {
    worker::VolumeRecord record;
    std::string labels; // the blob, unread
    bool quarantined = false;
    bool removing = false;        // being moved to the trash: nobody may attach it any more
    bool record_is_stale = false; // last_used moved on since the record was written
    std::vector<Holder> holders;

    [[nodiscard]] protocol::VolumeStatus status() const;
};

struct Usage {
    std::uint64_t volumes = 0;
    std::uint64_t bytes = 0;
};

class Registry {
  public:
    // False if the id or (owner, name) is taken.
    bool insert(Volume volume);
    void erase(VolumeId id);
    [[nodiscard]] Volume* find(VolumeId id);
    [[nodiscard]] Volume* find(std::uint32_t owner, const std::string& name);
    // What a user has, volumes that are being created included.
    [[nodiscard]] Usage usage(std::uint32_t owner) const;

    // Counted in usage from the decision to create until the volume is there or given up.
    void reserve(std::uint32_t owner, std::uint64_t bytes);
    void unreserve(std::uint32_t owner, std::uint64_t bytes);

    void attach(VolumeId id, Holder holder);
    void detach(VolumeId id, JobId job);
    // Sum of the sizes of memory volumes that jobs have: of one user, and of all.
    [[nodiscard]] std::uint64_t attached_memory(std::uint32_t owner) const;
    [[nodiscard]] std::uint64_t attached_memory() const;
    // The job that stands against this access: any holder for a writer, a writer for a reader. None: free.
    [[nodiscard]] static std::optional<JobId> conflict(const Volume& volume, protocol::Access access);

    // In ascending order of id, beginning after `after`.
    [[nodiscard]] std::vector<const Volume*> page(VolumeId after, std::size_t entries) const;
    [[nodiscard]] std::size_t size() const {
        return volumes_.size();
    }
    [[nodiscard]] std::map<VolumeId, Volume>& all() {
        return volumes_;
    }

  private:
    std::map<VolumeId, Volume> volumes_;
    std::map<std::pair<std::uint32_t, std::string>, VolumeId> names_;
    std::unordered_map<std::uint32_t, Usage> usage_;
    std::unordered_map<std::uint32_t, std::uint64_t> attached_memory_;
};

protocol::VolumeEntry entry_of(const Volume& volume);

} // namespace joblet::broker
