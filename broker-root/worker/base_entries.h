// What a job's root takes from its base.
#pragma once

#include <sys/stat.h>

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

// The first three can be used. OthersWrite: it does not belong to root, or its group or anybody may write to it, so that somebody
// else decides what jobs execute; of kJobEntries, which show nothing of the base, that is not asked.
enum class BaseEntry : std::uint8_t { Missing, Directory, MergedLink, StrayLink, NoDirectory, OthersWrite };
// No symlink is followed. `name` is one of kBaseEntries or kJobEntries.
BaseEntry look_at_base_entry(int base, const char* name);

// It belongs to root, and neither its group nor anybody else may write to it.
bool is_roots_alone(const struct stat& status);

} // namespace joblet::worker
