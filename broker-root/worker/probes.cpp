// Which backends the store can hold: a volume of each is made in staging, limited and removed.
#include <cstring>

#include <fmt/format.h>

#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/store.h"
#include "broker-root/worker/volume_files.h"
#include "shared/log.h"

namespace joblet::worker {

int Store::probe(const std::function<Outcome<void>(int directory)>& attempt) const {
    VolumeId id; // no volume's, and always the same, so that what a crash leaves is found here, too
    id.bytes.fill(0xff);
    auto probed = remove_staged(id);
    if (!probed) {
        return probed.error().sys_errno;
    }
    if (const auto made = kernel::make_directory(own_.staging.get(), hex_digits(id.bytes).data(), kVolumeDirectoryMode); !made) {
        return made.error();
    }
    {
        const auto directory = open_volume(own_.staging, id);
        probed = directory ? attempt(directory->get()) : failed(Step::MakeStaging, directory.error());
    }
    if (const auto removed = remove_staged(id); !removed) {
        log::warning(fmt::format("the probe of staging could not be removed: {}", std::strerror(removed.error().sys_errno)));
    }
    return probed ? 0 : probed.error().sys_errno;
}

int Store::probe_btrfs() const {
    return probe([this](int directory) { return btrfs_.probe(directory); });
}

int Store::probe_quota() const {
    return probe([this](int directory) { return quota_.probe(directory); });
}

} // namespace joblet::worker
