// SELinux, where the policy in selinux/ is loaded: jobs run, and volumes are, in two of 1024 categories, which are those of their owner.
// So a job that was shown another owner's volume by mistake cannot use it. docs/selinux.md tells how the parts work together.
// Text for the kernel is put together from words of ours and numbers alone; no library, and nothing from outside.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "broker-root/kernel/result.h"

namespace joblet::kernel {

inline constexpr std::uint32_t kCategories = 1024;                                   // c0 … c1023, as every MCS policy has
inline constexpr std::uint32_t kCategoryPairs = kCategories * (kCategories - 1) / 2; // 523,776

struct CategoryPair {
    std::uint32_t low = 0;
    std::uint32_t high = 0; // always above `low`: neither category alone dominates anybody's pair
};
// No two of kCategoryPairs consecutive uids have the same pair. Owners whose uids differ by a multiple of it have, and
// SELinux does not keep them apart.
CategoryPair categories_of(std::uint32_t owner_uid);

// What is labelled: types of selinux/joblet.te.
enum class Labelled : std::uint8_t {
    Volume,    // joblet_volume_t: what a job sees of a volume
    Image,     // joblet_image_t: the file that holds one
    Scratch,   // joblet_scratch_t: /work, /tmp, /dev/shm
    Job,       // joblet_job_t
    SystemJob, // joblet_sysjob_t
};
// Longer than any of ours, filled with zeros: of one length, so that a filter can fix it. It is none that a capability or an access
// list of the same call could have (20 or 24; 4 and a multiple of 8).
inline constexpr std::size_t kLabelBytes = 63;
using Label = std::array<char, kLabelBytes>;
Label label_of(Labelled what, std::uint32_t owner_uid);

enum class Domain : std::uint8_t { Worker, Spawner };
// Whether this process runs in that domain of ours. Not so without SELinux, or without our policy: then nothing is labelled. So it is the
// policy that says whether labels are made, and where it does a label that cannot be made is an error.
// `proc`: of the caller's pid namespace, may be a detached mount.
Result<bool> runs_in(int proc, Domain domain);

// `file`: open for reading or writing.
Result<void> label_file(int file, const Label& label);
// From the spawner's domain to that of stages, for good.
Result<void> enter_stage_domain(int proc);
// For the next program that this process, or a child of it, executes.
Result<void> label_next_program(int proc, const Label& label);

} // namespace joblet::kernel
