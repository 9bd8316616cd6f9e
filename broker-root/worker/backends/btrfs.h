// Filesystem volumes on a store that is btrfs with quotas: volumes/<id>/subvolume/data.
//
// The limit hangs on the subvolume, see data_directory.h. The kernel does not say whether it is attached; that is for the broker to know.
#pragma once

#include "broker-root/worker/abilities.h"
#include "broker-root/worker/backends/backend.h"

namespace joblet::worker {

class BtrfsBackend final : public Backend {
  public:
    explicit BtrfsBackend(const Abilities& abilities) : has_labels_(abilities.has_labels) {}

    [[nodiscard]] Outcome<Fd> create(int directory, const VolumeRecord& record, std::uint32_t slot_first) const override;
    [[nodiscard]] Outcome<void> complete(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] bool is_intact(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] Outcome<Fd> open(int directory, const VolumeRecord& record, const Attachment& attachment) const override;
    [[nodiscard]] kernel::Result<Fd> claim(int directory) const override;
    [[nodiscard]] Outcome<protocol::Usage> measure(int directory, const VolumeRecord& record, int mounted) const override;
    [[nodiscard]] Outcome<void> resize(int directory, const VolumeRecord& before, const VolumeRecord& after, int mounted) const override;
    // ENOTEMPTY, and nothing is changed, if a subvolume lies in the volume.
    [[nodiscard]] Outcome<void> remove(int directory) const override;

    // Makes, limits and removes a subvolume there: whether the store holds such volumes.
    [[nodiscard]] Outcome<void> probe(int directory) const;

  private:
    bool has_labels_;
};

} // namespace joblet::worker
