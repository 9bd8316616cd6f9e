// Mount namespaces of our own: made empty, entered, kept by descriptor.
#pragma once

#include "broker-root/kernel/result.h"
#include "shared/fd.h"

namespace joblet::kernel {

// unshare(CLONE_NEWNS) and make everything private, recursively; then root and cwd are the namespace's own root, also for a
// caller that was started under a chroot (setns to the namespace itself resets them; pivot_root refuses a chroot).
// `proc` is a detached proc mount, see make_proc.
Result<void> unshare_mounts(int proc);
// A clone (open_tree(2)) is a peer of the mount that it was made from where that is shared, in a private namespace too: what is mounted on
// it would appear on the other. Of one mount, not of those below it.
Result<void> make_private(int mount);

// With `root` attached somewhere in this namespace: make it "/", drop what was there, chdir("/").
Result<void> pivot_to(int root);

// Descriptor of the caller's own mount namespace, opened through a detached proc mount.
Result<Fd> own_mount_namespace(int proc);
// False for anything else, a process descriptor too, which setns(2) would take for the namespace of that process.
bool is_mount_namespace(int fd);
// setns(CLONE_NEWNS). Root and cwd become that namespace's.
Result<void> enter_mount_namespace(int mount_namespace);

} // namespace joblet::kernel
