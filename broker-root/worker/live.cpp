#include "broker-root/worker/live.h"

#include <fcntl.h>

#include <cerrno>
#include <string>
#include <utility>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/namespace.h"
#include "broker-root/kernel/record_io.h"

namespace joblet::worker {
namespace {

using kernel::Result;

constexpr auto kVolumes = "/volumes";

Result<void> enter(int mount_namespace) {
    return kernel::is_mount_namespace(mount_namespace) ? kernel::enter_mount_namespace(mount_namespace) : std::unexpected(EINVAL);
}

// A directory left by one that was detached will do. A mount would be mounted over.
Result<void> make_free_mount_point(int volumes, const char* name) {
    const auto made = kernel::make_mount_point(volumes, name);
    if (made || made.error() != EEXIST) {
        return made;
    }
    const auto below = kernel::status_of(volumes);
    const auto there = kernel::status_beneath(volumes, name);
    const bool unused = below && there && S_ISDIR(there->st_mode) && there->st_dev == below->st_dev;
    return unused ? Result<void>() : made;
}

Result<void> mount_here(int mount, const char* name) {
    const auto volumes = kernel::open_path(kVolumes, O_PATH | O_DIRECTORY);
    if (!volumes) {
        return std::unexpected(volumes.error());
    }
    if (auto made = make_free_mount_point(volumes->get(), name); !made) {
        return made;
    }
    auto moved = kernel::move_mount_to(mount, volumes->get(), name);
    if (!moved) {
        (void)kernel::remove_directory(volumes->get(), name); // of no use to anybody, and does no harm if it stays
    }
    return moved;
}

// A volume is another file system, or another mount of the store's, than the tmpfs that its mount point is on.
Result<Fd> open_here(const std::string& name) {
    const auto volumes = kernel::open_path(kVolumes, O_PATH | O_DIRECTORY);
    auto root =
        volumes ? kernel::open_path((std::string(kVolumes) + "/" + name).c_str(), O_PATH | O_DIRECTORY) : std::unexpected(volumes.error());
    if (!root) {
        return root;
    }
    const auto below = kernel::status_of(volumes->get());
    const auto there = kernel::status_of(root->get());
    return below && there && below->st_dev != there->st_dev ? std::move(root) : std::unexpected(ENOENT);
}

Result<void> unmount_path(const std::string& path) {
    auto unmounted = kernel::detach_mount(path.c_str());
    const bool was_none = !unmounted && (unmounted.error() == EINVAL || unmounted.error() == ENOENT);
    return was_none ? Result<void>() : unmounted;
}

Result<void> unmount_here(const std::string& name, const std::string& target) {
    if (auto unmounted = unmount_path(std::string(kVolumes) + "/" + name); !unmounted) {
        return unmounted;
    }
    if (!target.empty()) {
        if (auto unmounted = unmount_path(target); !unmounted) {
            return unmounted;
        }
    }
    const auto volumes = kernel::open_path(kVolumes, O_PATH | O_DIRECTORY);
    if (!volumes) {
        return std::unexpected(volumes.error());
    }
    auto removed = kernel::remove_directory(volumes->get(), name.c_str());
    return removed || removed.error() == ENOENT ? Result<void>() : removed;
}

} // namespace

Outcome<Fd> open_in_job(const OwnNamespace& own, Step step, int mount_namespace, const NameText& name) {
    if (const auto entered = enter(mount_namespace); !entered) {
        return failed(step, entered.error());
    }
    auto opened = open_here(name.string());
    return_to_own(own);
    if (!opened) {
        return failed(step, opened.error());
    }
    return std::move(*opened);
}

Outcome<void> mount_in_job(const OwnNamespace& own, int mount_namespace, int mount, const NameText& name) {
    if (const auto entered = enter(mount_namespace); !entered) {
        return failed(Step::AttachVolume, entered.error());
    }
    const auto mounted = mount_here(mount, name.string().c_str());
    return_to_own(own);
    return mounted ? Outcome<void>() : failed(Step::AttachVolume, mounted.error());
}

Outcome<void> unmount_in_job(const OwnNamespace& own, int mount_namespace, const NameText& name, const TargetText& target) {
    if (const auto entered = enter(mount_namespace); !entered) {
        return failed(Step::DetachVolume, entered.error());
    }
    const auto unmounted = unmount_here(name.string(), target.string());
    return_to_own(own);
    return unmounted ? Outcome<void>() : failed(Step::DetachVolume, unmounted.error());
}

} // namespace joblet::worker
