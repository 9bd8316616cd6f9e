// Filesystem volumes in a file: preallocated, ext4, on a loop device that lives as long as its mount.
//
// Whoever attaches an image holds a flock on it, exclusive for writing and shared for reading. The lock belongs to the open
// file, which the loop device keeps: so the kernel itself says whether a volume is attached, after any crash of ours too, and
// never are there two writers, or a reader of what is being written.
//
// An image is never shorter than its record says. A crash while it was resized may have left it longer, which costs room and nothing
// else.
#pragma once

#include <chrono>

#include "broker-root/kernel/caps.h"
#include "broker-root/worker/abilities.h"
#include "broker-root/worker/backends/backend.h"

namespace joblet::worker {

class ImageBackend final : public Backend {
  public:
    // `devices`: /dev of the worker's namespace; must outlive this. Without the abilities for growing that is Unsupported.
    ImageBackend(const Fd& devices, const Abilities& abilities)
        : devices_(devices), growing_(abilities.growing), has_labels_(abilities.has_labels) {}

    [[nodiscard]] Outcome<Fd> create(int directory, const VolumeRecord& record, std::uint32_t slot_first) const override;
    [[nodiscard]] Outcome<void> complete(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] bool is_intact(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] Outcome<Fd> open(int directory, const VolumeRecord& record, const Attachment& attachment) const override;
    [[nodiscard]] kernel::Result<Fd> claim(int directory) const override;
    [[nodiscard]] Outcome<protocol::Usage> measure(int directory, const VolumeRecord& record, int mounted) const override;
    [[nodiscard]] Outcome<void> resize(int directory, const VolumeRecord& before, const VolumeRecord& after, int mounted) const override;
    [[nodiscard]] Outcome<void> remove(int directory) const override;

    // claim(), of an image that is intact: what a copy of it is made from. InUse if it is attached.
    [[nodiscard]] Outcome<Fd> open_claimed(int directory, const VolumeRecord& record) const;
    // As complete(), of a copy in staging that a system job has resized.
    [[nodiscard]] Outcome<void> complete_resized(int directory, const VolumeRecord& record) const;
    // In the place of the image in `to`.
    [[nodiscard]] static Outcome<void> replace(int from, int to);

  private:
    [[nodiscard]] Outcome<Fd> mount(int directory, const VolumeRecord& record, protocol::Access access) const;
    // Readable whatever a crash left of its journal.
    [[nodiscard]] Outcome<Fd> mount_as(int directory, const VolumeRecord& record, protocol::Access access) const;
    [[nodiscard]] Outcome<void> sync_unmounted(int directory) const;
    [[nodiscard]] Outcome<void> grow(int directory, const VolumeRecord& record, int mounted) const;

    const Fd& devices_;
    kernel::CapabilityMask growing_;
    bool has_labels_;
};

} // namespace joblet::worker
