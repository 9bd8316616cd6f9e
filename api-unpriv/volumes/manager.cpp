#include "api-unpriv/volumes/manager.h"

#include <algorithm>

#include <fmt/format.h>

#include "api-unpriv/io_limits.h"
#include "shared/log.h"
#include "shared/size.h"

namespace joblet::api {

namespace {

using protocol::Backend;
using protocol::Reply;
using protocol::VolumeType;

bool backend_fits(Backend backend, VolumeType type) {
    switch (backend) {
    case Backend::Auto:
        return true;
    case Backend::Image:
    case Backend::ProjectQuota:
    case Backend::Btrfs:
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
    if (!backend_fits(wanted.backend, wanted.type)) {
        return std::unexpected(invalid(
            "backend", fmt::format("backend {} cannot hold a {} volume", backend_name(wanted.backend), volume_type_name(wanted.type)),
            "filesystem volumes are held by project-quota, btrfs or image, memory volumes by tmpfs; auto chooses"));
    }
    if (auto sound = check_sizes(wanted.sizes, wanted.type, wanted.backend); !sound) {
        return std::unexpected(sound.error());
    }
    if (auto sound = check_io("io", wanted.io); !sound) {
        return std::unexpected(sound.error());
    }
    if (wanted.type == VolumeType::Memory && wanted.io != protocol::IoLimits{}) {
        return std::unexpected(
            invalid("io", "a memory volume has no limits of I/O: no block device is behind it", "leave them out for it"));
    }
    const auto blob = encode_labels(wanted.labels);
    if (!blob) {
        return std::unexpected(invalid("labels", blob.error()));
    }
    protocol::CreateVolume request;
    request.header.connection = caller.connection;
    request.name = NameText(wanted.name);
    request.size_bytes = wanted.sizes.size_bytes;
    request.inodes = wanted.sizes.inodes;
    request.soft_size_bytes = wanted.sizes.soft_size_bytes;
    request.soft_inodes = wanted.sizes.soft_inodes;
    request.io = wanted.io;
    request.type = wanted.type;
    request.backend = wanted.backend;
    request.labels_size = static_cast<std::uint32_t>(blob->size());
    std::ranges::copy(*blob, request.labels.begin());
    return request;
}

Subject creating(const NewVolume& wanted) {
    return {fmt::format("create volume \"{}\"", wanted.name), wanted.name, wanted.name};
}

} // namespace

void VolumeManager::taskFailed(kj::Exception&& exception) {
    log::error(fmt::format("a task about volumes failed: {}", exception.getDescription().cStr()));
}

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
    const auto compare_sizes = [&](std::uint64_t has, std::uint64_t asked, std::string_view key, std::string_view what) {
        compare(has != asked, key, std::to_string(has), std::to_string(asked),
                fmt::format("its {} is {} ({} bytes), not {} ({} bytes)", what, format_size(has), has, format_size(asked), asked));
    };
    const auto compare_counts = [&](std::uint64_t has, std::uint64_t asked, std::string_view key, std::string_view what) {
        compare(has != asked, key, std::to_string(has), std::to_string(asked), fmt::format("its {} {}, not {}", what, has, asked));
    };
    compare_sizes(entry.size_bytes, wanted.sizes.size_bytes, "size_bytes", "size");
    compare_counts(entry.inodes, wanted.sizes.inodes, "inodes", "inodes are");
    compare_sizes(entry.soft_size_bytes, wanted.sizes.soft_size_bytes, "soft_size_bytes", "soft limit");
    compare_counts(entry.soft_inodes, wanted.sizes.soft_inodes, "soft_inodes", "soft limit of inodes is");
    compare(wanted.backend != Backend::Auto && entry.backend != wanted.backend, "backend", backend_name(entry.backend),
            backend_name(wanted.backend),
            fmt::format("its backend is {}, not {}", backend_name(entry.backend), backend_name(wanted.backend)));
    if (!differences.empty()) {
        refusal.error.message = fmt::format("volume \"{}\" exists and is different: {}", wanted.name, fmt::join(differences, "; "));
    }
    return refusal;
}

Outcome<std::vector<UsedVolume>> VolumeManager::prepare_volumes(const Caller& caller, std::span<const WantedVolume> wanted) const {
    if (wanted.size() > protocol::kJobVolumesMax) {
        return std::unexpected(
            invalid("volumes", fmt::format("a job has at most {} volumes, {} asked for", protocol::kJobVolumesMax, wanted.size())));
    }
    std::vector<UsedVolume> used;
    for (const auto& want : wanted) {
        const auto found = own(caller, want.volume, Scope{}, "use"); // never another user's, whoever asks
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

} // namespace joblet::api
