// What the store stands on: found once, while the host's sysfs and the names of files are in sight.
#pragma once

#include <cstdint>
#include <vector>

#include "broker-root/layout.h"
#include "shared/protocol_types.h"

namespace joblet::worker {

struct StoreDevices {
    std::uint32_t file_system = 0;       // f_type of statfs(2); 0: not known
    std::vector<protocol::Device> whole; // at most protocol::kStoreDevicesMax; none: not known, which is logged
};
StoreDevices find_store_devices(const Layout& layout);

} // namespace joblet::worker
