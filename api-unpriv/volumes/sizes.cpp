#include "api-unpriv/volumes/sizes.h"

#include <fmt/format.h>

#include "shared/size.h"

namespace joblet::api {

namespace {

using protocol::Backend;
using protocol::VolumeType;

bool can_have_soft_limits(Backend backend) {
    return backend == Backend::ProjectQuota || backend == Backend::Auto;
}

Refusal without_inodes() {
    return {{ErrorCode::Unsupported, "the btrfs backend cannot limit inodes",
             "leave the number of inodes out, or choose the image or the project-quota backend"},
            {}};
}

Outcome<void> check_size(std::uint64_t size_bytes) {
    if (size_bytes < protocol::kVolumeSizeMin || size_bytes > protocol::kVolumeSizeMax) {
        return std::unexpected(
            invalid("sizeBytes",
                    fmt::format("a volume cannot have a size of {}; sizes from {} to {} are accepted", format_size(size_bytes),
                                format_size(protocol::kVolumeSizeMin), format_size(protocol::kVolumeSizeMax)),
                    fmt::format("a size is {}", kSizeForms)));
    }
    return {};
}

Outcome<void> check_inodes(std::string_view field, std::uint64_t inodes, std::uint64_t size_bytes) {
    if (const auto most = size_bytes / protocol::kBytesPerInodeMin; inodes > most) {
        return std::unexpected(invalid(field, fmt::format("a volume of this size has at most {} inodes, {} asked for", most, inodes)));
    }
    return {};
}

Outcome<void> check_soft_limits(const VolumeSizes& sizes, VolumeType type, Backend backend) {
    if (sizes.soft_size_bytes == 0 && sizes.soft_inodes == 0) {
        return {};
    }
    const std::string_view field = sizes.soft_size_bytes != 0 ? "softSizeBytes" : "softInodes";
    if (type == VolumeType::Memory || !can_have_soft_limits(backend)) {
        return std::unexpected(invalid(field,
                                       type == VolumeType::Memory ? std::string("a memory volume has no soft limits")
                                                                  : fmt::format("backend {} has no soft limits", backend_name(backend)),
                                       "soft limits are held by the project-quota backend only"));
    }
    if (sizes.soft_size_bytes >= sizes.size_bytes) {
        return std::unexpected(
            invalid("softSizeBytes",
                    fmt::format("the soft limit of {} ({} bytes) is not below the size of {} ({} bytes)",
                                format_size(sizes.soft_size_bytes), sizes.soft_size_bytes, format_size(sizes.size_bytes), sizes.size_bytes),
                    "give a lower one, or none"));
    }
    if (sizes.inodes != 0 && sizes.soft_inodes >= sizes.inodes) {
        return std::unexpected(
            invalid("softInodes", fmt::format("the soft limit of {} inodes is not below the limit of {}", sizes.soft_inodes, sizes.inodes),
                    "give a lower one, or none"));
    }
    return check_inodes("softInodes", sizes.soft_inodes, sizes.size_bytes);
}

std::uint64_t soft_limit(std::uint64_t wanted, std::uint64_t now) {
    return wanted == protocol::kNoSoftLimit ? 0 : wanted != 0 ? wanted : now;
}

VolumeSizes changed(VolumeSizes now, const VolumeSizes& wanted) {
    now.size_bytes = wanted.size_bytes != 0 ? wanted.size_bytes : now.size_bytes;
    now.inodes = wanted.inodes != 0 ? wanted.inodes : now.inodes;
    now.soft_size_bytes = soft_limit(wanted.soft_size_bytes, now.soft_size_bytes);
    now.soft_inodes = soft_limit(wanted.soft_inodes, now.soft_inodes);
    return now;
}

} // namespace

VolumeSizes sizes_of(const protocol::VolumeEntry& entry) {
    return {entry.size_bytes, entry.inodes, entry.soft_size_bytes, entry.soft_inodes};
}

Outcome<void> check_sizes(const VolumeSizes& sizes, VolumeType type, Backend backend) {
    if (auto sound = check_size(sizes.size_bytes); !sound) {
        return sound;
    }
    if (auto sound = check_inodes("inodes", sizes.inodes, sizes.size_bytes); !sound) {
        return sound;
    }
    if (backend == Backend::Btrfs && sizes.inodes != 0) {
        return std::unexpected(without_inodes());
    }
    return check_soft_limits(sizes, type, backend);
}

Outcome<protocol::ResizeVolume> resize_request(const protocol::VolumeEntry& entry, const VolumeSizes& wanted) {
    if (wanted == VolumeSizes{}) {
        return std::unexpected(
            invalid("sizeBytes", "nothing is asked for", "give a new size, a number of inodes, or a soft limit of one of them"));
    }
    const VolumeSizes after = changed(sizes_of(entry), wanted);
    if (entry.backend == Backend::Image && after.inodes != entry.inodes) {
        return std::unexpected(Refusal{{ErrorCode::Unsupported, "how many inodes an image has is said when it is made",
                                        "leave the number of inodes out, or make a new volume"},
                                       {}});
    }
    if (auto sound = check_sizes(after, entry.type, entry.backend); !sound) {
        return std::unexpected(sound.error());
    }
    protocol::ResizeVolume request;
    request.id = entry.id;
    request.size_bytes = wanted.size_bytes;
    request.inodes = wanted.inodes;
    request.soft_size_bytes = wanted.soft_size_bytes;
    request.soft_inodes = wanted.soft_inodes;
    return request;
}

VolumeSizes sizes_after(const protocol::VolumeEntry& entry, const protocol::ResizeVolume& request) {
    return changed(sizes_of(entry), {request.size_bytes, request.inodes, request.soft_size_bytes, request.soft_inodes});
}

} // namespace joblet::api
