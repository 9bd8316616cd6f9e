// What a job needs before it starts and leaves when it is over: its mounts, <jobs>/<id> and <runtime>/jobs/<id>.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "broker-root/worker/failure.h"
#include "broker-root/worker/job_files.h"
#include "broker-root/worker/orders.h"
#include "broker-root/worker/own_namespace.h"
#include "broker-root/worker/store.h"
#include "broker-root/worker/templates.h"

namespace joblet::worker {

class Jobs {
  public:
    Jobs(const OwnNamespace& own, const Store& store, bool has_labels)
        : own_(own), store_(store), has_labels_(has_labels), templates_(own) {}

    struct Prepared {
        int mount_template = -1;               // belongs to the templates, good until the next prepare()
        std::vector<protocol::Device> devices; // loop devices of the images among the volumes
        std::vector<Fd> rest;                  // what follows it, in the order of PreparedDescriptor, then the log, then the volumes
    };
    // Leaves nothing behind if it fails.
    Outcome<Prepared> prepare(const PrepareJob& order, int user_namespace);
    // See the orders of the same names. attach: the loop device of an image.
    [[nodiscard]] Outcome<std::optional<protocol::Device>> attach(const AttachVolume& order, int user_namespace, int mount_namespace) const;
    [[nodiscard]] Outcome<void> detach(const DetachVolume& order, int mount_namespace) const;
    // InUse, and the record stays, if a volume that the job could write is still attached after some seconds.
    [[nodiscard]] Outcome<void> finish(const FinishJob& order, std::vector<Fd> descriptors) const;
    [[nodiscard]] Outcome<void> release(const JobId& id) const;
    [[nodiscard]] Outcome<std::array<Fd, kLogFiles.size()>> open_log(const JobId& id) const;
    Outcome<void> load(bool remove_leftovers, const std::function<void(const LoadedJob&)>& tell) const;

  private:
    [[nodiscard]] Outcome<JobFiles> make_files(const JobRecord& record) const;
    [[nodiscard]] kernel::Result<void> write_running(JobRecord record) const;
    void load_ended(const JobId& id, bool remove_leftovers, const std::function<void(const LoadedJob&)>& tell) const;
    void remove_files(const JobId& id) const;

    const OwnNamespace& own_;
    const Store& store_;
    bool has_labels_; // see Abilities
    Templates templates_;
};

} // namespace joblet::worker
