// Memory volumes: nothing on disk, made when attached and gone with their job.
#pragma once

#include "broker-root/kernel/mount.h"
#include "broker-root/worker/abilities.h"
#include "broker-root/worker/backends/backend.h"

namespace joblet::worker {

// Inodes of a tmpfs of `size_bytes` for which `inodes` files were asked; 0: as many as it has pages, so that what holds the
// limit is the size, and at least 1024. Its root directory takes one besides.
std::uint64_t tmpfs_inodes(std::uint64_t size_bytes, std::uint64_t inodes);

class TmpfsBackend final : public Backend {
  public:
    // Swap::Never where the kernel can: then every volume must have it.
    explicit TmpfsBackend(const Abilities& abilities) : swap_(abilities.memory_swap), has_labels_(abilities.has_labels) {}

    [[nodiscard]] Outcome<Fd> create(int directory, const VolumeRecord& record, std::uint32_t slot_first) const override;
    [[nodiscard]] Outcome<void> complete(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] bool is_intact(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] Outcome<Fd> open(int directory, const VolumeRecord& record, const Attachment& attachment) const override;
    [[nodiscard]] kernel::Result<Fd> claim(int directory) const override;
    [[nodiscard]] Outcome<protocol::Usage> measure(int directory, const VolumeRecord& record, int mounted) const override;
    [[nodiscard]] Outcome<void> resize(int directory, const VolumeRecord& before, const VolumeRecord& after, int mounted) const override;
    [[nodiscard]] Outcome<void> remove(int directory) const override;

  private:
    kernel::Swap swap_;
    bool has_labels_;
};

} // namespace joblet::worker
