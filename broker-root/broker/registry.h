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

#include "broker-root/broker/task.h"
#include "broker-root/worker/orders.h"
#include "shared/id.h"
#include "shared/protocol_messages.h"

namespace joblet::broker {

struct Holder {
    JobId job;
    protocol::Access access{};
};

// What is being done to a volume's files. One at a time; whoever wants to do something else waits until it is over.
struct VolumeChange {
    Gate over;
    bool moves = false; // to another name or place: until it is over, nobody may attach the volume
};

struct Volume {
    worker::VolumeRecord record;
    std::string labels; // the blob, unread
    bool quarantined = false;
    std::uint32_t still_mounted = 0; // by jobs that have ended: until their mounts are gone it counts as quarantined
    bool trashed = false;
    bool no_swap = false;         // Memory: the kernel keeps it out of swap
    bool record_is_stale = false; // something in it moved on since it was written, which a crash may take back
    std::optional<VolumeChange> change;
    std::vector<Holder> holders;

    [[nodiscard]] bool is_quarantined() const {
        return quarantined || still_mounted != 0;
    }
    [[nodiscard]] protocol::VolumeStatus status() const;
};

struct Usage {
    std::uint64_t volumes = 0;
    std::uint64_t bytes = 0;
};

class Registry {
  public:
    // False if the id or (owner, name) is taken. What is in the trash has an id, but takes no name.
    bool insert(Volume volume);
    void erase(VolumeId id);
    // Good until the volume is erased.
    [[nodiscard]] Volume* find(VolumeId id);
    [[nodiscard]] Volume* find(std::uint32_t owner, const std::string& name);
    // Precondition of both: the volume is there, and the name is free.
    void rename(VolumeId id, const NameText& name);
    void restore(VolumeId id, const NameText& name);
    void trash(VolumeId id);
    // What a user has: with volumes that are being created, and with those in the trash.
    [[nodiscard]] Usage usage(std::uint32_t owner) const;

    // Counted in usage from the decision to create until the volume is there or given up.
    void reserve(std::uint32_t owner, std::uint64_t bytes);
    void unreserve(std::uint32_t owner, std::uint64_t bytes);
    // What a volume of his grows or shrinks by. Precondition: he has one.
    void charge(std::uint32_t owner, std::uint64_t bytes);
    void discharge(std::uint32_t owner, std::uint64_t bytes);

    void attach(VolumeId id, Holder holder);
    void detach(VolumeId id, JobId job);
    // Sum of the sizes of memory volumes that jobs have or may still hold: of one user, and of all.
    [[nodiscard]] std::uint64_t attached_memory(std::uint32_t owner) const;
    [[nodiscard]] std::uint64_t attached_memory() const;
    // What a running job may hold of a volume that was detached from it.
    void hold_memory(std::uint32_t owner, std::uint64_t bytes);
    void release_memory(std::uint32_t owner, std::uint64_t bytes);
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

// Begins a change of a volume that is there and not being changed, and ends it.
class ChangeOfVolume {
  public:
    ChangeOfVolume(EventLoop& loop, Registry& registry, Volume& volume, bool moves);
    ~ChangeOfVolume();
    ChangeOfVolume(const ChangeOfVolume&) = delete;
    ChangeOfVolume& operator=(const ChangeOfVolume&) = delete;

    [[nodiscard]] Volume& volume() const { // until it is erased
        return volume_;
    }

  private:
    Registry& registry_;
    Volume& volume_;
    VolumeId id_;
    Gate over_;
};

protocol::VolumeEntry entry_of(const Volume& volume);

} // namespace joblet::broker
