#include "broker-root/jobletd/filter_table.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "broker-root/broker/filter_table.h"
#include "broker-root/spawner/filter_table_init.h"
#include "broker-root/spawner/filter_table_job.h"
#include "broker-root/spawner/filter_table_spawner.h"
#include "broker-root/worker/filter_table.h"

namespace joblet::jobletd {

namespace {

constexpr std::uint64_t kNoDevices = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr std::uint64_t kNoPrograms = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;

constexpr auto kOwn = std::to_array<SyscallRule>({
    // ---- jobletd itself
    {SYS_poll, "poll", "waits for signals and for the broker"},
    {SYS_read, "read", "signalfd"},
    {SYS_recvmsg, "recvmsg", "the broker's messages"},
    {SYS_sendmsg, "sendmsg", "answers to the broker"},
    {SYS_socketpair, "socketpair", "between the broker and the others"},
    {SYS_wait4, "wait4", "reaps"},
    {SYS_clone3, "clone3", "starts a program in its cgroup"},
    {SYS_execveat, "execveat", "executes it from its own directory"},
    {SYS_mkdirat, "mkdirat", "a cgroup for it"},
    {SYS_openat, "openat", "lists cgroups at the end"},
    {SYS_getdents64, "getdents64", "lists cgroups at the end"},
    {SYS_openat2, "openat2", "cgroup.kill"},
    {SYS_unlinkat, "unlinkat", "cgroups that are over"},
    {SYS_unlink, "unlink", "the socket, at the end"},
    {SYS_close_range, "close_range", "a program gets its own descriptors only"},
    {SYS_setsid, "setsid", "a session for each program"},
    {SYS_setgroups, "setgroups", "joblet-api is not root"},
    {SYS_setresgid, "setresgid", "joblet-api is not root"},
    {SYS_setresuid, "setresuid", "joblet-api is not root"},
    // ---- set-up of worker and spawner, before they install their own
    {SYS_prctl, "prctl", "bounding set, no_new_privs, filter"},
    {SYS_capset, "capset", "capabilities"},
    {SYS_unshare, "unshare", "a mount namespace of their own", {arg_is(0, CLONE_NEWNS)}},
    {SYS_setns, "setns", "back to the root of that namespace, where they were started under a chroot", {arg_is32(1, CLONE_NEWNS)}},
    {SYS_mount_setattr, "mount_setattr", "nothing propagates from or to the host"},
    {SYS_fsopen, "fsopen", "proc, tmpfs", {arg_is32(1, FSOPEN_CLOEXEC)}},
    {SYS_fsconfig, "fsconfig", "their options: flags", {arg_is32(1, FSCONFIG_SET_FLAG)}},
    {SYS_fsconfig, "fsconfig", "their options: text", {arg_is32(1, FSCONFIG_SET_STRING)}},
    {SYS_fsconfig, "fsconfig", "makes them", {arg_is32(1, FSCONFIG_CMD_CREATE)}},
    {SYS_fsmount, "fsmount", "none without nosuid and nodev", {arg_has(2, kNoDevices, kNoDevices)}},
    {SYS_fsmount, "fsmount", "device nodes, with nosuid and noexec instead", {arg_has(2, kNoPrograms, kNoPrograms)}},
    {SYS_open_tree,
     "open_tree",
     "store and bases, alone, in that namespace",
     {arg_has(2, OPEN_TREE_CLONE | AT_RECURSIVE, OPEN_TREE_CLONE)}},
    {SYS_move_mount, "move_mount", "places mounts given by descriptor", {arg_has(4, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_F_EMPTY_PATH)}},
    {SYS_pivot_root, "pivot_root", "out of the host's tree"},
    {SYS_umount2, "umount2", "drops the host's tree in that namespace", {arg_has(1, MNT_DETACH, MNT_DETACH)}},
    {SYS_ioctl, "ioctl", "what a store on btrfs is on", {arg_is32(1, BTRFS_IOC_FS_INFO)}},
    {SYS_ioctl, "ioctl", "what a store on a loop device is on", {arg_is32(1, LOOP_GET_STATUS64)}},
    {SYS_mknodat, "mknodat", "device nodes of a job's /dev", {arg_has(2, S_IFMT, S_IFCHR)}},
});

bool is_conditional(const SyscallRule& row) {
    return std::ranges::any_of(row.arguments, [](const auto& rule) { return rule.test != ArgumentRule::Test::None; });
}

bool same_conditions(const SyscallRule& a, const SyscallRule& b) {
    return std::ranges::equal(a.arguments, b.arguments, [](const auto& x, const auto& y) {
        return x.test == y.test && x.argument == y.argument && x.mask == y.mask && x.value == y.value;
    });
}

void add(std::vector<SyscallRule>& table, const SyscallRule& row) {
    const auto covered = [&row](const auto& other) {
        return other.number == row.number && (!is_conditional(other) || same_conditions(other, row));
    };
    if (std::ranges::any_of(table, covered)) {
        return;
    }
    if (!is_conditional(row)) {
        std::erase_if(table, [&row](const auto& other) { return other.number == row.number; });
    }
    table.push_back(row);
}

} // namespace

std::span<const SyscallRule> own_calls() {
    return kOwn;
}

std::vector<SyscallRule> filter_table() {
    std::vector<SyscallRule> table;
    for (const std::span<const SyscallRule> part : {own_calls(), spawner::job_calls(), spawner::stage_calls(), spawner::init_calls(),
                                                    worker::worker_calls(), broker::filter_table(), broker::closer_calls()}) {
        for (const auto& row : part) {
            add(table, row);
        }
    }
    return table;
}

std::expected<void, std::string> install_own_filter() {
    const auto program = compile_filter(filter_table(), {}, OtherCalls::FailWithEPERM);
    if (!program) {
        return std::unexpected(program.error());
    }
    if (const int code = install_filter(*program); code != 0) {
        return std::unexpected(std::string("could not install the system call filter: ") + std::strerror(code));
    }
    return {};
}

} // namespace joblet::jobletd
