// One order at a time: received, carried out, answered.
#pragma once

#include <span>
#include <vector>

#include "broker-root/worker/jobs.h"
#include "broker-root/worker/orders.h"
#include "broker-root/worker/own_namespace.h"
#include "broker-root/worker/store.h"

namespace joblet::worker {

class Service {
  public:
    Service(int broker, const OwnNamespace& own, const Abilities& abilities)
        : broker_(broker), own_(own), abilities_(abilities), store_(own, abilities), jobs_(own, store_, abilities.has_labels) {}

    // Until the broker closes its end: true. False if it sent something that is no order, or the socket failed.
    bool run();

  private:
    using Descriptors = std::vector<Fd>;
    bool carry_out(const LoadVolumes& order, Descriptors& descriptors);
    bool carry_out(const LoadJobs& order, Descriptors& descriptors);
    bool carry_out(const LoadBases& order, Descriptors& descriptors);
    bool carry_out(const OpenLog& order, Descriptors& descriptors);
    bool carry_out(const StageVolume& order, Descriptors& descriptors);
    bool carry_out(const CommitVolume& order, Descriptors& descriptors);
    bool carry_out(const DiscardStaging& order, Descriptors& descriptors);
    bool carry_out(const UpdateRecord& order, Descriptors& descriptors);
    bool carry_out(const TrashVolume& order, Descriptors& descriptors);
    bool carry_out(const EmptyTrash& order, Descriptors& descriptors);
    bool carry_out(const RestoreVolume& order, Descriptors& descriptors);
    bool carry_out(const SetLabels& order, Descriptors& descriptors);
    bool carry_out(const PrepareJob& order, Descriptors& descriptors);
    bool carry_out(const AttachVolume& order, Descriptors& descriptors);
    bool carry_out(const DetachVolume& order, Descriptors& descriptors);
    bool carry_out(const FinishJob& order, Descriptors& descriptors);
    bool carry_out(const ReleaseJob& order, Descriptors& descriptors);
    bool carry_out(const MeasureVolume& order, Descriptors& descriptors);
    bool carry_out(const ResizeVolume& order, Descriptors& descriptors);
    bool carry_out(const OpenImage& order, Descriptors& descriptors);
    bool carry_out(const CommitResize& order, Descriptors& descriptors);
    bool carry_out(const Survey& order, Descriptors& descriptors);
    bool carry_out(const SyncFile& order, Descriptors& descriptors);
    // The volume's root in the job whose namespace came with the order; an invalid descriptor if none did.
    [[nodiscard]] Outcome<Fd> open_mounted(Step step, const VolumeRecord& record, Descriptors& descriptors) const;

    int broker_;
    const OwnNamespace& own_;
    Abilities abilities_;
    Store store_;
    Jobs jobs_;
};

} // namespace joblet::worker
