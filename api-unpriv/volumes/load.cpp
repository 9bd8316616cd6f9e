// The index kept true: all of it at start, then whatever the broker says.
#include <unordered_map>

#include <fmt/format.h>
#include <kj/timer.h>

#include "api-unpriv/volumes/manager.h"
#include "shared/log.h"

namespace joblet::api {

namespace {

// The broker is reading its own records: asked again so much later.
constexpr auto kLoadRetry = 50 * kj::MILLISECONDS;

bool same_for_the_store(const Volume& a, const Volume& b) {
    return a.labels == b.labels && a.entry.owner_uid == b.entry.owner_uid && a.entry.name == b.entry.name && a.entry.type == b.entry.type &&
           a.entry.backend == b.entry.backend && a.entry.status == b.entry.status && a.entry.size_bytes == b.entry.size_bytes &&
           a.entry.inodes == b.entry.inodes && a.entry.created_ns == b.entry.created_ns && a.entry.last_used_ns == b.entry.last_used_ns &&
           a.entry.flags == b.entry.flags && a.entry.trashed_until_ns == b.entry.trashed_until_ns &&
           a.entry.soft_size_bytes == b.entry.soft_size_bytes && a.entry.soft_inodes == b.entry.soft_inodes && a.entry.io == b.entry.io;
}

} // namespace

void VolumeManager::changed(const protocol::VolumeEntry& entry, std::span<const std::uint8_t> labels) {
    auto decoded = decode_labels(labels);
    if (!decoded) {
        log::warning(fmt::format("the labels of volume {} cannot be read and are ignored", to_string(entry.id)));
        decoded.emplace();
    }
    index_.put(entry, std::move(*decoded));
    if (!loading_) {
        store_.put(*index_.find(entry.id));
    }
}

void VolumeManager::gone(const VolumeId& id) {
    index_.erase(id);
    store_.erase(id);
}

// ---- start

kj::Promise<void> VolumeManager::load(kj::Timer& timer, std::vector<Volume> stored) {
    loading_ = true;
    return load_page(timer, {}).then([this, stored = std::move(stored)]() {
        loading_ = false;
        std::unordered_map<VolumeId, const Volume*> before;
        std::size_t forgotten = 0;
        for (const auto& volume : stored) {
            before.emplace(volume.entry.id, &volume);
            if (index_.find(volume.entry.id) == nullptr) {
                store_.erase(volume.entry.id);
                ++forgotten;
            }
        }
        std::size_t written = 0;
        for (const auto& [id, volume] : index_.all()) {
            const auto place = before.find(id);
            if (place == before.end() || !same_for_the_store(*place->second, volume)) {
                store_.put(volume);
                ++written;
            }
        }
        log::info(fmt::format("{} volumes; joblet.db differed in {} and had {} that are gone", index_.size(), written, forgotten));
    });
}

kj::Promise<void> VolumeManager::load_page(kj::Timer& timer, VolumeId after) {
    protocol::ListVolumes request;
    request.after = after;
    return broker_.request(request).then([this, &timer, after](const protocol::Message& message) -> kj::Promise<void> {
        const auto* page = std::get_if<protocol::VolumePage>(&message);
        if (page == nullptr) {
            return timer.afterDelay(kLoadRetry).then([this, &timer, after]() { return load_page(timer, after); });
        }
        const auto entries = std::span(page->volumes).first(page->reply.count);
        std::size_t labels = 0;
        for (const auto& entry : entries) {
            changed(entry, std::span(page->labels).subspan(labels, entry.labels_size));
            labels += entry.labels_size;
        }
        if ((page->reply.flags & protocol::kReplyMore) == 0 || entries.empty()) {
            return kj::READY_NOW;
        }
        return load_page(timer, entries.back().id);
    });
}

kj::Promise<bool> VolumeManager::refresh(VolumeId id) {
    protocol::StatVolume request;
    request.id = id;
    return broker_.request(request).then([this, id](const protocol::Message& message) {
        const ErrorCode code = reply_of(message).code;
        if (const auto* detail = std::get_if<protocol::VolumeDetail>(&message)) {
            changed(detail->volume, std::span(detail->labels).first(detail->volume.labels_size));
        } else if (code == ErrorCode::NotFound) {
            gone(id);
        }
        return code == ErrorCode::Ok || code == ErrorCode::NotFound;
    });
}

} // namespace joblet::api
