// The volumes on disk: <state>/{volumes,trash,staging}/<id>/{record,labels} and what the backend makes. `record` is the truth
// about a volume.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>

#include "broker-root/worker/backends/btrfs.h"
#include "broker-root/worker/backends/image.h"
#include "broker-root/worker/backends/tmpfs.h"
#include "broker-root/worker/failure.h"
#include "broker-root/worker/labels.h"
#include "broker-root/worker/orders.h"
#include "broker-root/worker/own_namespace.h"

namespace joblet::worker {

// Where a volume is expected.
enum class Place : std::uint8_t { Volumes, Trash };

class Store {
  public:
    explicit Store(const OwnNamespace& own) : own_(own), image_(own.devices) {}

    // See the orders of the same names. load removes what is left in staging first.
    Outcome<void> load(const std::function<void(const LoadedVolume&)>& tell) const;
    // VolumesLoaded::btrfs_errno
    [[nodiscard]] int probe_btrfs() const;
    // An invalid descriptor if nothing has to be done before commit.
    [[nodiscard]] Outcome<Fd> stage(const VolumeRecord& record, std::uint32_t slot_first) const;
    [[nodiscard]] Outcome<void> commit(const VolumeRecord& record, const SizedLabels& labels) const;
    [[nodiscard]] Outcome<void> discard(const VolumeId& id) const;
    [[nodiscard]] Outcome<void> update(const VolumeRecord& record, bool durable) const;
    [[nodiscard]] Outcome<void> set_labels(const VolumeId& id, const SizedLabels& labels) const;
    [[nodiscard]] Outcome<void> trash(const VolumeRecord& record, bool forced) const;
    [[nodiscard]] Outcome<void> restore(const VolumeRecord& record) const;
    [[nodiscard]] Outcome<void> empty(const VolumeId& id) const;

    // A detached mount of a volume, whose record must say what the order says; in the trash it may have had another name.
    [[nodiscard]] Outcome<Fd> open(const MountVolume& volume, const Attachment& attachment, Place place) const;
    // Waits until the volume is attached nowhere.
    [[nodiscard]] Outcome<void> wait_until_free(const VolumeId& id, std::chrono::milliseconds longest, Place place) const;

  private:
    [[nodiscard]] const Fd& directory_of(Place place) const;
    [[nodiscard]] const Backend& backend_of(protocol::Backend backend) const;
    [[nodiscard]] Outcome<void> remove_staged(const VolumeId& id) const;
    void remove_leftovers() const;
    [[nodiscard]] LoadedVolume look_at(const VolumeId& id) const;
    void load_trash(const std::function<void(const LoadedVolume&)>& tell, const VolumeId& id) const;
    [[nodiscard]] Outcome<void> remove_from(const Fd& parent, const VolumeId& id, int directory,
                                            std::initializer_list<const Backend*> backends) const;
    // Renames and syncs; undone if the second fails, because what would survive a crash must not differ from what is said.
    [[nodiscard]] static Outcome<void> move(Step step, const VolumeId& id, const Fd& from, const Fd& to);

    const OwnNamespace& own_;
    ImageBackend image_;
    TmpfsBackend tmpfs_;
    BtrfsBackend btrfs_;
};

} // namespace joblet::worker
