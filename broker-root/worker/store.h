// The volumes on disk: <state>/{volumes,trash,staging}/<id>/{record,labels,image}. `record` is the truth about a volume.
#pragma once

#include <chrono>
#include <functional>

#include "broker-root/worker/backends/image.h"
#include "broker-root/worker/backends/tmpfs.h"
#include "broker-root/worker/failure.h"
#include "broker-root/worker/orders.h"
#include "broker-root/worker/own_namespace.h"

namespace joblet::worker {

class Store {
  public:
    explicit Store(const OwnNamespace& own) : own_(own), image_(own.devices) {}

    // Every volume there is. Removes what is left in staging first.
    Outcome<void> load(const std::function<void(const LoadedVolume&)>& tell) const;
    // Whatever is still in trash after a crash.
    void empty_trash() const;

    // See the orders of the same names. stage: an invalid descriptor if nothing has to be done before commit.
    [[nodiscard]] Outcome<Fd> stage(const VolumeRecord& record, std::uint32_t slot_first) const;
    [[nodiscard]] Outcome<void> commit(VolumeRecord record, const Labels& labels) const;
    [[nodiscard]] Outcome<void> discard(const VolumeId& id) const;
    [[nodiscard]] Outcome<void> update(VolumeRecord record, bool durable) const;
    [[nodiscard]] Outcome<void> trash(const VolumeId& id) const;
    [[nodiscard]] Outcome<void> empty(const VolumeId& id) const;

    // A detached mount of a volume, whose record must say what the order says.
    [[nodiscard]] Outcome<Fd> open(const MountVolume& volume, const Attachment& attachment) const;
    // Waits until the volume is attached nowhere.
    [[nodiscard]] Outcome<void> wait_until_free(const VolumeId& id, std::chrono::milliseconds longest) const;

  private:
    [[nodiscard]] const Backend& backend_of(protocol::Backend backend) const;
    [[nodiscard]] Outcome<void> remove_from(const Fd& parent, const char* name) const;
    void remove_leftovers(const Fd& parent, const char* parent_name) const;
    [[nodiscard]] LoadedVolume look_at(const VolumeId& id) const;

    const OwnNamespace& own_;
    ImageBackend image_;
    TmpfsBackend tmpfs_;
};

} // namespace joblet::worker
