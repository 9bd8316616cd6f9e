// What a job's root takes from its base.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace joblet::worker {

// Mounted from the base as far as it has them.
inline constexpr std::array kBaseEntries = {"bin", "sbin", "lib", "lib64", "usr", "etc"};
// Of those, what may be a symlink to usr/<itself> instead, as distributions with a merged /usr have it.
inline constexpr std::array kMergedEntries = {"bin", "sbin", "lib", "lib64"};
// Mount points that are ours. A base may have them, as directories; they are not taken from it.
inline constexpr std::array kJobEntries = {"proc", "dev", "tmp", "work", "volumes"};

enum class BaseEntry : std::uint8_t { Missing, Directory, MergedLink, Unfit };
// No symlink is followed. `name` is one of kBaseEntries or kJobEntries.
BaseEntry look_at_base_entry(int base, const char* name);

// The first of kBaseEntries and kJobEntries that is something else than allowed above; empty if there is none.
std::string_view unfit_for_base(int base);

} // namespace joblet::worker
