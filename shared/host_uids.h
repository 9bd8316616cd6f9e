// Ranges of host uids, where more than the root side must know them.
#pragma once

#include <cstdint>

namespace joblet {

// Jobs: the n-th slot has so many uids from the configured first one + n * kSlotIds on.
inline constexpr std::uint32_t kSlotIds = 65536;
// On disk, what is in volumes belongs to kForeignFirst + n, n below kSlotIds.
inline constexpr std::uint32_t kForeignFirst = 0x7FFE0000;

} // namespace joblet
