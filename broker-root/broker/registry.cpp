#include "broker-root/broker/registry.h"

#include <algorithm>

namespace joblet::broker {

protocol::VolumeStatus Volume::status() const {
    if (is_quarantined()) {
        return protocol::VolumeStatus::Quarantined;
    }
    if (trashed) {
        return protocol::VolumeStatus::Trashed;
    }
    return holders.empty() ? protocol::VolumeStatus::Available : protocol::VolumeStatus::InUse;
}

bool Registry::insert(Volume volume) {
    const VolumeId id = volume.record.id;
    const std::uint32_t owner = volume.record.owner_uid;
    const std::uint64_t bytes = volume.record.size_bytes;
    const std::pair key{owner, volume.record.name.string()};
    if (volumes_.contains(id) || (!volume.trashed && names_.contains(key))) {
        return false;
    }
    if (!volume.trashed) {
        names_.emplace(key, id);
    }
    volumes_.emplace(id, std::move(volume));
    reserve(owner, bytes);
    return true;
}

void Registry::erase(VolumeId id) {
    const auto found = volumes_.find(id);
    if (found == volumes_.end()) {
        return;
    }
    const auto& record = found->second.record;
    unreserve(record.owner_uid, record.size_bytes);
    if (!found->second.trashed) {
        names_.erase({record.owner_uid, record.name.string()});
    }
    volumes_.erase(found);
}

void Registry::rename(VolumeId id, const NameText& name) {
    auto& record = volumes_.at(id).record;
    names_.erase({record.owner_uid, record.name.string()});
    record.name = name;
    names_.emplace(std::pair(record.owner_uid, name.string()), id);
}

void Registry::trash(VolumeId id) {
    Volume& volume = volumes_.at(id);
    names_.erase({volume.record.owner_uid, volume.record.name.string()});
    volume.trashed = true;
}

void Registry::restore(VolumeId id, const NameText& name) {
    Volume& volume = volumes_.at(id);
    volume.record.name = name;
    volume.trashed = false;
    names_.emplace(std::pair(volume.record.owner_uid, name.string()), id);
}

Volume* Registry::find(VolumeId id) {
    const auto found = volumes_.find(id);
    return found == volumes_.end() ? nullptr : &found->second;
}

Volume* Registry::find(std::uint32_t owner, const std::string& name) {
    const auto found = names_.find({owner, name});
    return found == names_.end() ? nullptr : find(found->second);
}

Usage Registry::usage(std::uint32_t owner) const {
    const auto found = usage_.find(owner);
    return found == usage_.end() ? Usage{} : found->second;
}

void Registry::reserve(std::uint32_t owner, std::uint64_t bytes) {
    Usage& usage = usage_[owner];
    usage.volumes += 1;
    usage.bytes += bytes;
}

void Registry::unreserve(std::uint32_t owner, std::uint64_t bytes) {
    const auto found = usage_.find(owner);
    found->second.volumes -= 1;
    found->second.bytes -= bytes;
    if (found->second.volumes == 0) {
        usage_.erase(found);
    }
}

void Registry::charge(std::uint32_t owner, std::uint64_t bytes) {
    usage_[owner].bytes += bytes;
}

void Registry::discharge(std::uint32_t owner, std::uint64_t bytes) {
    usage_[owner].bytes -= bytes;
}

void Registry::attach(VolumeId id, Holder holder) {
    if (Volume* volume = find(id)) {
        if (volume->holders.empty() && volume->record.type == protocol::VolumeType::Memory) {
            hold_memory(volume->record.owner_uid, volume->record.size_bytes);
        }
        volume->holders.push_back(holder);
    }
}

void Registry::detach(VolumeId id, JobId job) {
    if (Volume* volume = find(id)) {
        const auto released = std::erase_if(volume->holders, [&job](const Holder& holder) { return holder.job == job; });
        if (released != 0 && volume->holders.empty() && volume->record.type == protocol::VolumeType::Memory) {
            release_memory(volume->record.owner_uid, volume->record.size_bytes);
        }
    }
}

void Registry::hold_memory(std::uint32_t owner, std::uint64_t bytes) {
    if (bytes != 0) {
        attached_memory_[owner] += bytes;
    }
}

void Registry::release_memory(std::uint32_t owner, std::uint64_t bytes) {
    const auto sum = attached_memory_.find(owner);
    if (bytes == 0 || sum == attached_memory_.end()) {
        return;
    }
    sum->second -= bytes;
    if (sum->second == 0) {
        attached_memory_.erase(sum);
    }
}

std::uint64_t Registry::attached_memory(std::uint32_t owner) const {
    const auto found = attached_memory_.find(owner);
    return found == attached_memory_.end() ? 0 : found->second;
}

std::uint64_t Registry::attached_memory() const {
    std::uint64_t sum = 0;
    for (const auto& [owner, bytes] : attached_memory_) {
        sum += bytes;
    }
    return sum;
}

std::optional<JobId> Registry::conflict(const Volume& volume, protocol::Access access) {
    // A memory volume lives in one job's tmpfs: a second job would see another one
    const bool alone = access == protocol::Access::ReadWrite || volume.record.type == protocol::VolumeType::Memory;
    const auto found = std::ranges::find_if(
        volume.holders, [alone](const Holder& holder) { return alone || holder.access == protocol::Access::ReadWrite; });
    return found == volume.holders.end() ? std::nullopt : std::optional(found->job);
}

std::vector<const Volume*> Registry::page(VolumeId after, std::size_t entries) const {
    std::vector<const Volume*> out;
    for (auto at = volumes_.upper_bound(after); at != volumes_.end() && out.size() < entries; ++at) {
        out.push_back(&at->second);
    }
    return out;
}

protocol::VolumeEntry entry_of(const Volume& volume) {
    protocol::VolumeEntry entry;
    entry.id = volume.record.id;
    entry.name = volume.record.name;
    entry.size_bytes = volume.record.size_bytes;
    entry.inodes = volume.record.inodes;
    entry.created_ns = volume.record.created_ns;
    entry.last_used_ns = volume.record.last_used_ns;
    entry.trashed_until_ns = volume.status() == protocol::VolumeStatus::Trashed ? volume.record.trashed_until_ns : 0;
    entry.current_job = volume.holders.empty() ? JobId{} : volume.holders.front().job;
    entry.owner_uid = volume.record.owner_uid;
    entry.type = volume.record.type;
    entry.backend = volume.record.backend;
    entry.status = volume.status();
    entry.labels_size = static_cast<std::uint32_t>(volume.labels.size());
    entry.flags = (volume.record.flags & protocol::kVolumeProtected) | (volume.no_swap ? protocol::kVolumeNoSwap : 0);
    entry.soft_size_bytes = volume.record.soft_size_bytes;
    entry.soft_inodes = volume.record.soft_inodes;
    entry.io = volume.record.io;
    return entry;
}

ChangeOfVolume::ChangeOfVolume(EventLoop& loop, Registry& registry, Volume& volume, bool moves)
    : registry_(registry), volume_(volume), id_(volume.record.id), over_(loop) {
    volume_.change.emplace(over_, moves);
}

ChangeOfVolume::~ChangeOfVolume() {
    if (Volume* volume = registry_.find(id_)) {
        volume->change.reset();
    }
    over_.open();
}

} // namespace joblet::broker
