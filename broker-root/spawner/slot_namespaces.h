// The two user namespaces of a slot.
#pragma once

#include <cstdint>

#include "broker-root/kernel/result.h"
#include "shared/fd.h"

namespace joblet::spawner {

struct SlotNamespaces {
    Fd job;    // J: 0 … 65535 are the slot's
    Fd volume; // V: the foreign range is the slot's
};
// `proc`: a detached proc mount of the caller's pid namespace.
kernel::Result<SlotNamespaces> make_slot_namespaces(int proc, std::uint32_t slot_first);

} // namespace joblet::spawner
