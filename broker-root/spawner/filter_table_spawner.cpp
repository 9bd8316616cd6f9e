#include "broker-root/spawner/filter_table_spawner.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <array>

namespace joblet::spawner {

namespace {

constexpr std::uint64_t kProcAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

constexpr auto kCalls = std::to_array<SyscallRule>({
    {SYS_clone3, "clone3", "clones stages into their cgroup, and the carriers of user namespaces"},
    {SYS_setns, "setns", "stage: enters the template", {arg_is32(1, CLONE_NEWNS)}},
    {SYS_setns, "setns", "stage: joins the slot's user namespace", {arg_is32(1, CLONE_NEWUSER)}},
    {SYS_unshare, "unshare", "stage: its own copy of the template", {arg_is(0, CLONE_NEWNS)}},
    {SYS_unshare, "unshare", "stage: its cgroup is the root of what the job sees", {arg_is(0, CLONE_NEWCGROUP)}},
    {SYS_fsopen, "fsopen", "stage: the job's proc, and the empty directory over its masked ones", {arg_is32(1, FSOPEN_CLOEXEC)}},
    {SYS_fsconfig, "fsconfig", "stage: their options", {arg_is32(1, FSCONFIG_SET_STRING)}},
    {SYS_fsconfig, "fsconfig", "stage: makes them", {arg_is32(1, FSCONFIG_CMD_CREATE)}},
    {SYS_fsmount, "fsmount", "stage: the same, and no mount with fewer restrictions", {arg_has(2, kProcAttributes, kProcAttributes)}},
    {SYS_open_tree,
     "open_tree",
     "stage: a volume at its second place, the null device over a file of proc; alone",
     {arg_has(2, OPEN_TREE_CLONE | AT_RECURSIVE, OPEN_TREE_CLONE)}},
    {SYS_move_mount,
     "move_mount",
     "stage: places mounts given by descriptor",
     {arg_has(4, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_F_EMPTY_PATH)}},
    {SYS_sethostname, "sethostname", "stage: the job's host name"},
});

} // namespace

std::span<const SyscallRule> stage_calls() {
    return kCalls;
}

} // namespace joblet::spawner
