// Filesystem volumes in a file: preallocated, ext4, on a loop device that lives as long as its mount.
//
// Whoever attaches an image holds a flock on it, exclusive for writing and shared for reading. The lock belongs to the open
// file, which the loop device keeps: so the kernel itself says whether a volume is attached, after any crash of ours too, and
// never are there two writers, or a reader of what is being written.
#pragma once

#include <chrono>

#include "broker-root/worker/backends/backend.h"

namespace joblet::worker {

class ImageBackend final : public Backend {
  public:
    // `devices`: /dev of the worker's namespace; must outlive this.
    explicit ImageBackend(const Fd& devices) : devices_(devices) {}

    [[nodiscard]] Outcome<Fd> create(int directory, const VolumeRecord& record, std::uint32_t slot_first) const override;
    [[nodiscard]] Outcome<void> complete(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] bool is_intact(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] Outcome<Fd> open(int directory, const VolumeRecord& record, const Attachment& attachment) const override;
    [[nodiscard]] kernel::Result<Fd> claim(int directory) const override;
    [[nodiscard]] Outcome<void> remove(int directory) const override;

  private:
    [[nodiscard]] Outcome<Fd> mount(int directory, const VolumeRecord& record, protocol::Access access) const;

    const Fd& devices_;
};

} // namespace joblet::worker
