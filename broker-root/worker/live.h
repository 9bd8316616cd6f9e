// Inside a running job's mount namespace, which this enters and leaves again. Nothing is opened there but /volumes, O_PATH: it
// is root's, on a root that is read-only, so that the job can put nothing in the way.
#pragma once

#include "broker-root/worker/failure.h"
#include "broker-root/worker/own_namespace.h"
#include "shared/fd.h"
#include "shared/name.h"

namespace joblet::worker {

// The root of what is mounted at /volumes/<name>, O_PATH. ENOENT if nothing is. Failures are those of `step`.
Outcome<Fd> open_in_job(const OwnNamespace& own, Step step, int mount_namespace, const NameText& name);
// At /volumes/<name>. Conflict if something is mounted there; then and after any other error nothing has changed.
Outcome<void> mount_in_job(const OwnNamespace& own, int mount_namespace, int mount, const NameText& name);
// Lazily, from /volumes/<name>, whose directory goes too, and from `target` unless it is empty. What is not mounted is no error.
Outcome<void> unmount_in_job(const OwnNamespace& own, int mount_namespace, const NameText& name, const TargetText& target);

} // namespace joblet::worker
