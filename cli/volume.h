// rnx volume …
#pragma once

#include "cli/arguments.h"

namespace joblet::cli {

// Each returns the exit status; throws CommandFailure.
int create_volume(const VolumeCreate& create, const CommandLine& line);
int list_volumes(const VolumeList& list, const CommandLine& line);
// These two go on after a volume that is refused: each refusal is shown, and the exit status is 1.
int inspect_volumes(const VolumeInspect& inspect, const CommandLine& line);
int remove_volumes(const VolumeRemove& remove, const CommandLine& line);

} // namespace joblet::cli
