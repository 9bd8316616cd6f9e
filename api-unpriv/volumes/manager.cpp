#include "api-unpriv/volumes/manager.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>
#include <kj/timer.h>

#include "shared/log.h"
#include "shared/size.h"

namespace joblet::api {

namespace {

using protocol::Backend;
using protocol::Reply;
using protocol::VolumeType;

// The broker is reading its own records: asked again so much later.
constexpr auto kLoadRetry = 50 * kj::MILLISECONDS;

bool backend_fits(Backend backend, VolumeType type) {
    switch (backend) {
    case Backend::Auto:
        return true;
    case Backend::Image:
        return type == VolumeType::Filesystem;
    case Backend::Tmpfs:
        return type == VolumeType::Memory;
    }
    return false;
}

Outcome<protocol::CreateVolume> checked(const Caller& caller, const NewVolume& wanted) {
    if (!is_valid_name(wanted.name)) {
        return std::unexpected(invalid("name", "the name of the volume is not valid", fmt::format("a name is {}", kNameForms)));
    }
    if (wanted.size_bytes < protocol::kVolumeSizeMin || wanted.size_bytes > protocol::kVolumeSizeMax) {
        return std::unexpected(
            invalid("sizeBytes",
                    fmt::format("a volume cannot have a size of {}; sizes from {} to {} are accepted", format_size(wanted.size_bytes),
                                format_size(protocol::kVolumeSizeMin), format_size(protocol::kVolumeSizeMax)),
                    fmt::format("a size is {}", kSizeForms)));
    }
    if (const auto most = wanted.size_bytes / protocol::kBytesPerInodeMin; wanted.inodes > most) {
        return std::unexpected(
            invalid("inodes", fmt::format("a volume of this size has at most {} inodes, {} asked for", most, wanted.inodes)));
    }
    if (!backend_fits(wanted.backend, wanted.type)) {
        return std::unexpected(invalid(
            "backend", fmt::format("backend {} cannot hold a {} volume", backend_name(wanted.backend), volume_type_name(wanted.type)),
            "filesystem volumes are held by image, memory volumes by tmpfs; auto chooses"));
    }
    const auto blob = encode_labels(wanted.labels);
    if (!blob) {
        return std::unexpected(invalid("labels", blob.error()));
    }
    protocol::CreateVolume request;
    request.header.connection = caller.connection;
    request.name = NameText(wanted.name);
    request.size_bytes = wanted.size_bytes;
    request.inodes = wanted.inodes;
    request.type = wanted.type;
    request.backend = wanted.backend;
    request.labels_size = static_cast<std::uint32_t>(blob->size());
    std::ranges::copy(*blob, request.labels.begin());
    return request;
}

bool same_for_the_store(const Volume& a, const Volume& b) {
    return a.labels == b.labels && a.entry.owner_uid == b.entry.owner_uid && a.entry.name == b.entry.name && a.entry.type == b.entry.type &&
           a.entry.backend == b.entry.backend && a.entry.status == b.entry.status && a.entry.size_bytes == b.entry.size_bytes &&
           a.entry.inodes == b.entry.inodes && a.entry.created_ns == b.entry.created_ns && a.entry.last_used_ns == b.entry.last_used_ns;
}

Subject creating(const NewVolume& wanted) {
    return {fmt::format("create volume \"{}\"", wanted.name), wanted.name, wanted.name};
}

} // namespace

kj::Promise<Outcome<CreatedVolume>> VolumeManager::create(const Caller& caller, NewVolume wanted) {
    const auto request = checked(caller, wanted);
    if (!request) {
        return Outcome<CreatedVolume>(std::unexpected(request.error()));
    }
    return broker_.request(*request).then([this,
                                           wanted = std::move(wanted)](protocol::Message message) -> kj::Promise<Outcome<CreatedVolume>> {
        const Reply reply = reply_of(message);
        if (reply.code == ErrorCode::Conflict) {
            return Outcome<CreatedVolume>(std::unexpected(conflict(wanted, reply)));
        }
        if (reply.code != ErrorCode::Ok) {
            return Outcome<CreatedVolume>(std::unexpected(refusal_from(reply, creating(wanted))));
        }
        // The news of it may come after the reply
        auto known = index_.find(reply.volume) != nullptr ? kj::Promise<bool>(true) : refresh(reply.volume);
        return known.then([this, reply, wanted](bool answered) -> Outcome<CreatedVolume> {
            const Volume* volume = index_.find(reply.volume);
            if (volume == nullptr && !answered) {
                return std::unexpected(unavailable());
            }
            if (volume == nullptr) {
                return std::unexpected(Refusal{
                    {ErrorCode::NotFound, fmt::format("volume \"{}\" was created, and removed at once by somebody else", wanted.name), {}},
                    {}});
            }
            return CreatedVolume{*volume, (reply.flags & protocol::kReplyExisted) != 0};
        });
    });
}

Refusal VolumeManager::conflict(const NewVolume& wanted, const Reply& reply) const {
    Refusal refusal = refusal_from(reply, creating(wanted));
    const Volume* there = index_.find(reply.volume);
    if (there == nullptr) {
        return refusal;
    }
    const auto& entry = there->entry;
    std::vector<std::string> differences;
    const auto compare = [&](bool differs, std::string_view key, std::string_view has, std::string_view asked, std::string shown) {
        if (differs) {
            differences.push_back(std::move(shown));
            refusal.fields.emplace_back("difference", fmt::format("{}: {} there, {} asked", key, has, asked));
        }
    };
    const auto type = volume_type_name(entry.type);
    compare(entry.type != wanted.type, "type", type, volume_type_name(wanted.type),
            fmt::format("its type is {}, not {}", type, volume_type_name(wanted.type)));
    compare(entry.size_bytes != wanted.size_bytes, "size_bytes", std::to_string(entry.size_bytes), std::to_string(wanted.size_bytes),
            fmt::format("its size is {} ({} bytes), not {} ({} bytes)", format_size(entry.size_bytes), entry.size_bytes,
                        format_size(wanted.size_bytes), wanted.size_bytes));
    compare(entry.inodes != wanted.inodes, "inodes", std::to_string(entry.inodes), std::to_string(wanted.inodes),
            fmt::format("its inodes are {}, not {}", entry.inodes, wanted.inodes));
    compare(wanted.backend != Backend::Auto && entry.backend != wanted.backend, "backend", backend_name(entry.backend),
            backend_name(wanted.backend),
            fmt::format("its backend is {}, not {}", backend_name(entry.backend), backend_name(wanted.backend)));
    if (!differences.empty()) {
        refusal.error.message = fmt::format("volume \"{}\" exists and is different: {}", wanted.name, fmt::join(differences, "; "));
    }
    return refusal;
}

Outcome<const Volume*> VolumeManager::get(const Caller& caller, std::string_view selector, Scope scope) const {
    const auto allowed = permitted(caller, scope);
    if (!allowed) {
        return std::unexpected(allowed.error());
    }
    const auto found = index_.resolve(selector, *allowed);
    if (found.empty()) {
        return std::unexpected(no_such_volume(selector));
    }
    if (found.size() > 1) {
        Refusal refusal = invalid("selector", fmt::format("\"{}\" may be any of {} volumes", selector, found.size()),
                                  "give the whole id, or say whose volume it is");
        constexpr std::size_t kShown = 16;
        for (std::size_t i = 0; i < std::min(found.size(), kShown); ++i) {
            refusal.fields.emplace_back("volume", to_string(found[i]->entry.id));
        }
        return std::unexpected(std::move(refusal));
    }
    return found.front();
}

Outcome<VolumePage> VolumeManager::list(const Caller& caller, VolumeQuery query) const {
    const auto allowed = permitted(caller, query.scope);
    if (!allowed) {
        return std::unexpected(allowed.error());
    }
    query.scope = *allowed;
    auto page = index_.list(query);
    if (!page) {
        return std::unexpected(
            invalid("page.after", "this is not the end of an earlier page", "use `next` of the page before, as it was given"));
    }
    return std::move(*page);
}

kj::Promise<Outcome<void>> VolumeManager::remove(const Caller& caller, std::string_view selector, Scope scope) {
    const auto found = get(caller, selector, scope);
    if (!found) {
        return Outcome<void>(std::unexpected(found.error()));
    }
    const auto& entry = (*found)->entry;
    protocol::DeleteVolume request;
    request.header.connection = caller.connection;
    request.id = entry.id;
    request.authority = authority_over(caller, entry.owner_uid);
    Subject subject{fmt::format("remove volume \"{}\"", entry.name.view()), entry.name.string(), std::string(selector)};
    return broker_.request(request).then(
        [this, id = entry.id, subject = std::move(subject)](const protocol::Message& message) -> Outcome<void> {
            const Reply& reply = reply_of(message);
            if (reply.code != ErrorCode::Ok) {
                return std::unexpected(refusal_from(reply, subject));
            }
            // Whoever removed it does not see it again, even if the news comes later
            const Volume* known = index_.find(id);
            if (known != nullptr && known->entry.status != protocol::VolumeStatus::Trashed) {
                gone(id);
            }
            return {};
        });
}

Outcome<std::vector<UsedVolume>> VolumeManager::prepare_volumes(const Caller& caller, std::span<const WantedVolume> wanted) const {
    if (wanted.size() > protocol::kJobVolumesMax) {
        return std::unexpected(
            invalid("volumes", fmt::format("a job has at most {} volumes, {} asked for", protocol::kJobVolumesMax, wanted.size())));
    }
    std::vector<UsedVolume> used;
    for (const auto& want : wanted) {
        const auto found = get(caller, want.volume, Scope{}); // never another user's, whoever asks
        if (!found) {
            return std::unexpected(found.error());
        }
        const auto& entry = (*found)->entry;
        if (!want.target.empty() && !is_valid_target(want.target)) {
            return std::unexpected(invalid("volumes", fmt::format("volume \"{}\" cannot appear where it was asked for", entry.name.view()),
                                           fmt::format("a target is {}", kTargetForms)));
        }
        if (const auto reserved = want.target.empty() ? std::nullopt : reserved_by(want.target)) {
            return std::unexpected(invalid("volumes",
                                           fmt::format("volume \"{}\" cannot appear at {}: {} belongs to the job's own root",
                                                       entry.name.view(), want.target, *reserved),
                                           "choose a path of its own, for example /data"));
        }
        for (const auto& other : used) {
            if (other.id == entry.id) {
                return std::unexpected(invalid("volumes", fmt::format("volume \"{}\" is given twice", entry.name.view())));
            }
            if (!want.target.empty() && !other.target.empty() && targets_overlap(want.target, other.target)) {
                return std::unexpected(
                    invalid("volumes", fmt::format("volumes \"{}\" and \"{}\" cannot appear at {} and {}: one would hide the other",
                                                   other.name, entry.name.view(), other.target, want.target)));
            }
        }
        used.push_back({entry.id, entry.name.string(), want.target, want.read_only});
    }
    return used;
}

kj::Promise<void> VolumeManager::cleanup_volumes(JobId job, const std::vector<UsedVolume>& used) {
    kj::Vector<kj::Promise<bool>> questions;
    for (const auto& volume : used) {
        const Volume* known = index_.find(volume.id);
        if (known != nullptr && known->entry.current_job == job) {
            questions.add(refresh(volume.id));
        }
    }
    return kj::joinPromises(questions.releaseAsArray()).ignoreResult();
}

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
        kj::Vector<kj::Promise<bool>> details;
        for (const auto& entry : std::span(page->volumes).first(page->reply.count)) {
            if (entry.labels_size == 0) {
                changed(entry, {});
            } else {
                details.add(refresh(entry.id));
            }
        }
        const bool more = (page->reply.flags & protocol::kReplyMore) != 0 && page->reply.count > 0;
        const VolumeId last = more ? page->volumes.at(page->reply.count - 1).id : VolumeId{};
        return kj::joinPromises(details.releaseAsArray()).then([=, this, &timer](kj::Array<bool> answered) -> kj::Promise<void> {
            if (!std::ranges::all_of(answered, [](bool one) { return one; })) {
                return timer.afterDelay(kLoadRetry).then([this, &timer, after]() { return load_page(timer, after); });
            }
            return more ? load_page(timer, last) : kj::Promise<void>(kj::READY_NOW);
        });
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
