// rnx volume …
#pragma once

#include "cli/arguments.h"

namespace joblet::cli {

// Each returns the exit status; throws CommandFailure. Those for several volumes go on after one that is refused: each refusal
// is shown, and the exit status is 1.
int create_volume(const VolumeCreate& create, const CommandLine& line);
int list_volumes(const VolumeList& list, const CommandLine& line);
int inspect_volumes(const VolumeInspect& inspect, const CommandLine& line);

int show_usage(const VolumeUsage& wanted, const CommandLine& line);

int label_volume(const VolumeLabel& label, const CommandLine& line);
int rename_volume(const VolumeRename& rename, const CommandLine& line);
int resize_volume(const VolumeResize& resize, const CommandLine& line);
int remove_volumes(const VolumeRemove& remove, const CommandLine& line);
int restore_volume(const VolumeRestore& restore, const CommandLine& line);
int protect_volumes(const VolumeProtect& protect, const CommandLine& line);
int attach_volume(const VolumeAttach& attach, const CommandLine& line);
int detach_volume(const VolumeDetach& detach, const CommandLine& line);

} // namespace joblet::cli
