#include "broker-root/kernel/namespace.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace joblet::kernel {

Result<void> unshare_mounts(int proc) {
    if (::unshare(CLONE_NEWNS) < 0) {
        return last_errno();
    }
    // Entering the namespace that we are in changes only root and cwd: out of any chroot, to the namespace's real root.
    // pivot_root(2) refuses a root that is no mount point, and so does mount_setattr(2) below.
    const auto own = own_mount_namespace(proc);
    if (!own) {
        return std::unexpected(own.error());
    }
    if (const auto entered = enter_mount_namespace(own->get()); !entered) {
        return entered;
    }
    // A new namespace is still a peer of the one it was copied from where that is shared: what is mounted here would appear
    // there, and pivot_root is EINVAL.
    mount_attr change{.propagation = MS_PRIVATE};
    if (::mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &change, sizeof change) < 0) {
        return last_errno();
    }
    return {};
}

Result<void> make_private(int mount) {
    mount_attr change{.propagation = MS_PRIVATE};
    if (::mount_setattr(mount, "", AT_EMPTY_PATH, &change, sizeof change) < 0) {
        return last_errno();
    }
    return {};
}

Result<void> pivot_to(int root) {
    // pivot_root(".", ".") puts the old root on top of the new one; "." is then the old one (pivot_root(2), NOTES).
    if (::fchdir(root) < 0 || ::syscall(SYS_pivot_root, ".", ".") < 0 || ::umount2(".", MNT_DETACH) < 0 || ::chdir("/") < 0) {
        return last_errno();
    }
    return {};
}

Result<Fd> own_mount_namespace(int proc) {
    Fd opened(::openat(proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC));
    if (!opened.valid()) {
        return last_errno();
    }
    return opened;
}

bool is_mount_namespace(int fd) {
    return ::ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNS;
}

Result<void> enter_mount_namespace(int mount_namespace) {
    if (::setns(mount_namespace, CLONE_NEWNS) < 0) {
        return last_errno();
    }
    return {};
}

} // namespace joblet::kernel
