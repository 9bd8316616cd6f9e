// The volumes on disk: <state>/{volumes,trash,staging}/<id>/{record,labels} and what the backend makes. `record` is the truth
// about a volume.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>

#include "broker-root/worker/abilities.h"
#include "broker-root/worker/backends/btrfs.h"
#include "broker-root/worker/backends/image.h"
#include "broker-root/worker/backends/project_quota.h"
#include "broker-root/worker/backends/tmpfs.h"
#include "broker-root/worker/failure.h"
#include "broker-root/worker/labels.h"
#include "broker-root/worker/orders.h"
#include "broker-root/worker/own_namespace.h"

namespace joblet::worker {

// Where a volume is expected.
enum class Place : std::uint8_t { Volumes, Trash };
// Of a new image: what its size needs, or as much and more, for the copy of one that is resized.
enum class ImageLength : std::uint8_t { Exact, AtLeast };

class Store {
  public:
    Store(const OwnNamespace& own, const Abilities& abilities)
        : own_(own), image_(own.devices, abilities), tmpfs_(abilities), btrfs_(abilities), quota_(abilities) {}

    // See the orders of the same names. load removes what is left in staging first.
    Outcome<void> load(const std::function<void(const LoadedVolume&)>& tell) const;
    // VolumesLoaded::btrfs_errno and quota_errno
    [[nodiscard]] int probe_btrfs() const;
    [[nodiscard]] int probe_quota() const;
    // An invalid descriptor if nothing has to be done before commit.
    [[nodiscard]] Outcome<Fd> stage(const VolumeRecord& record, std::uint32_t slot_first, ImageLength length) const;
    [[nodiscard]] Outcome<void> commit(const VolumeRecord& record, const SizedLabels& labels, Place place) const;
    [[nodiscard]] Outcome<void> discard(const VolumeId& id) const;
    [[nodiscard]] Outcome<void> update(const VolumeRecord& record, bool durable) const;
    [[nodiscard]] Outcome<void> set_labels(const VolumeId& id, const SizedLabels& labels) const;
    [[nodiscard]] Outcome<void> trash(const VolumeRecord& record, bool forced) const;
    [[nodiscard]] Outcome<void> restore(const VolumeRecord& record) const;
    [[nodiscard]] Outcome<void> empty(const VolumeId& id) const;
    // `mounted`: the volume's root in a job that has it, or -1.
    [[nodiscard]] Outcome<protocol::Usage> measure(const VolumeRecord& record, Place place, int mounted) const;
    [[nodiscard]] Outcome<void> resize(const VolumeRecord& record, int mounted) const;
    [[nodiscard]] Outcome<Fd> open_image(const VolumeRecord& record) const;
    [[nodiscard]] Outcome<void> commit_resize(const VolumeRecord& record) const;

    // What is to be told of a volume in a survey; nothing if there is none of that id.
    [[nodiscard]] std::optional<Finding> look_over(const VolumeId& id) const;

    // A detached mount of a volume, whose record must say what the order says; in the trash it may have had another name.
    [[nodiscard]] Outcome<Fd> open(const MountVolume& volume, const Attachment& attachment, Place place) const;
    // Waits until the volume is attached nowhere.
    [[nodiscard]] Outcome<void> wait_until_free(const VolumeId& id, std::chrono::milliseconds longest, Place place) const;

  private:
    struct Found {
        Fd directory;
        VolumeRecord record; // on disk
    };
    // The volume that `record` is about, whatever size it says.
    [[nodiscard]] Outcome<Found> find(Step step, const VolumeRecord& record, Place place) const;
    // 0, or the errno of what failed. `attempt` is given an empty directory in staging.
    [[nodiscard]] int probe(const std::function<Outcome<void>(int directory)>& attempt) const;
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
    ProjectQuotaBackend quota_;
};

} // namespace joblet::worker
