#include "broker-root/spawner/slot_namespaces.h"

#include "broker-root/kernel/process.h"
#include "broker-root/layout.h"

namespace joblet::spawner {

kernel::Result<SlotNamespaces> make_slot_namespaces(int proc, std::uint32_t slot_first) {
    auto job = kernel::make_user_namespace(proc, {.inside = 0, .outside = slot_first, .count = kSlotIds});
    if (!job) {
        return std::unexpected(job.error());
    }
    auto volume = kernel::make_user_namespace(proc, {.inside = kForeignFirst, .outside = slot_first, .count = kSlotIds});
    if (!volume) {
        return std::unexpected(volume.error());
    }
    return SlotNamespaces{std::move(*job), std::move(*volume)};
}

} // namespace joblet::spawner
