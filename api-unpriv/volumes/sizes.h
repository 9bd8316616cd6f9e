// What a volume can be asked to hold, and how it is made larger or smaller.
#pragma once

#include <cstdint>

#include "api-unpriv/errors.h"
#include "api-unpriv/volumes/index.h"
#include "shared/protocol.h"

namespace joblet::api {

struct VolumeSizes {
    std::uint64_t size_bytes = 0;
    std::uint64_t inodes = 0;          // 0: the backend's default
    std::uint64_t soft_size_bytes = 0; // 0: none
    std::uint64_t soft_inodes = 0;     // likewise

    bool operator==(const VolumeSizes&) const = default;
};
VolumeSizes sizes_of(const protocol::VolumeEntry& entry);

// Of a volume to be made. As the broker decodes them: what does not decode there would be fatal.
Outcome<void> check_sizes(const VolumeSizes& sizes, protocol::VolumeType type, protocol::Backend backend);

// `wanted`: 0 leaves as it is, and protocol::kNoSoftLimit takes a soft limit away. Refused where it asks for nothing, or where what
// would come of it could not be made either.
Outcome<protocol::ResizeVolume> resize_request(const protocol::VolumeEntry& entry, const VolumeSizes& wanted);
// The sizes of the volume when that is done.
VolumeSizes sizes_after(const protocol::VolumeEntry& entry, const protocol::ResizeVolume& request);

} // namespace joblet::api
