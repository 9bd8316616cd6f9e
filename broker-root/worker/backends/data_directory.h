// The directory `data` of a volume: the foreign range's, in a holder of root's (0700) that the limit hangs on. So the job, which is
// given `data` alone, can neither reach nor change what limits it.
#pragma once

#include <optional>

#include "broker-root/kernel/selinux.h"
#include "broker-root/worker/backends/backend.h"

namespace joblet::worker {

inline constexpr auto kData = "data";
inline constexpr std::uint32_t kHolderMode = 0700;

// The SELinux label of a volume's data; none where there are no labels.
std::optional<kernel::Label> label_for(bool has_labels, const VolumeRecord& record);
// `holder` is open for reading. Failures are those of `step`.
Outcome<void> make_data(Step step, int holder, const std::optional<kernel::Label>& label);
// Holder and data are what they were made as. `holder` may be O_PATH.
bool has_data(int holder);
// ENOSPC if the file system of `directory` is smaller than that even when it is empty: a limit above it would be none.
Outcome<void> check_fits(Step step, int directory, const VolumeRecord& record);
// The detached mount that a job gets of it.
Outcome<Fd> mount_data(int holder, const Attachment& attachment);

} // namespace joblet::worker
