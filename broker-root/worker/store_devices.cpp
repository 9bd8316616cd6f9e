#include "broker-root/worker/store_devices.h"

#include <fcntl.h>
#include <linux/magic.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "broker-root/kernel/block_devices.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

using kernel::Result;

// Whatever else may be mounted there is not the kernel's word.
Result<Fd> open_sysfs() {
    auto sysfs = kernel::open_path("/sys", O_RDONLY | O_DIRECTORY);
    const auto type = sysfs ? kernel::file_system_type(sysfs->get()) : std::unexpected(sysfs.error());
    if (!type) {
        return std::unexpected(type.error());
    }
    return *type == SYSFS_MAGIC ? std::move(sysfs) : std::unexpected(ENOENT);
}

Result<std::vector<protocol::Device>> devices_of(int store) {
    const auto source = kernel::file_system_source(store);
    const auto sysfs = source ? open_sysfs() : std::unexpected(source.error());
    const auto nodes = sysfs ? kernel::open_path("/dev", O_PATH | O_DIRECTORY) : std::unexpected(sysfs.error());
    if (!nodes) {
        return std::unexpected(nodes.error());
    }
    return kernel::whole_devices(sysfs->get(), *source, protocol::kStoreDevicesMax,
                                 [&](const protocol::Device& loop) { return kernel::below_loop(sysfs->get(), nodes->get(), loop); });
}

} // namespace

StoreDevices find_store_devices(const Layout& layout) {
    StoreDevices out;
    const auto store = kernel::open_path(layout.state().c_str(), O_RDONLY | O_DIRECTORY);
    if (!store) {
        return out; // which ends this process in a moment, with a better reason
    }
    out.file_system = kernel::file_system_type(store->get()).value_or(0);
    auto found = devices_of(store->get());
    if (found) {
        out.whole = std::move(*found);
    } else {
        log::warning(fmt::format("the block devices that hold {} are not known ({}): jobs cannot be limited in what they read and write",
                                 layout.state(), std::strerror(found.error())));
    }
    return out;
}

} // namespace joblet::worker
