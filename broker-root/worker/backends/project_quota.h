// Filesystem volumes on a store that is XFS or ext4 with project quotas: volumes/<id>/project/data.
//
// The project id of the record is on the directory `project`, and on everything below by inheritance; nobody who lives in another user
// namespace than the host's can change it. See data_directory.h. The kernel does not say whether it is attached; that is for
// the broker to know.
#pragma once

#include "broker-root/worker/abilities.h"
#include "broker-root/worker/backends/backend.h"

namespace joblet::worker {

class ProjectQuotaBackend final : public Backend {
  public:
    explicit ProjectQuotaBackend(const Abilities& abilities) : has_labels_(abilities.has_labels) {}

    // EEXIST of Step::SetQuota: something is known of that project id already.
    [[nodiscard]] Outcome<Fd> create(int directory, const VolumeRecord& record, std::uint32_t slot_first) const override;
    [[nodiscard]] Outcome<void> complete(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] bool is_intact(int directory, const VolumeRecord& record) const override;
    [[nodiscard]] Outcome<Fd> open(int directory, const VolumeRecord& record, const Attachment& attachment) const override;
    [[nodiscard]] kernel::Result<Fd> claim(int directory) const override;
    [[nodiscard]] Outcome<protocol::Usage> measure(int directory, const VolumeRecord& record, int mounted) const override;
    [[nodiscard]] Outcome<void> resize(int directory, const VolumeRecord& before, const VolumeRecord& after, int mounted) const override;
    // ENOTEMPTY, and nothing is changed, while anything is in the volume: nobody here walks through what is somebody's.
    [[nodiscard]] Outcome<void> remove(int directory) const override;

    // Makes, limits and removes a volume there: whether the store holds such volumes.
    [[nodiscard]] Outcome<void> probe(int directory) const;

  private:
    bool has_labels_;
};

// The project id of a volume of this backend, as its directory has it now. `directory` is the volume's.
kernel::Result<std::uint32_t> project_id_in(int directory);

} // namespace joblet::worker
