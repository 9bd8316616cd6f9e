// Processes: cloned into namespaces, their ids, signals, descriptors and names.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>

#include "broker-root/kernel/result.h"
#include "shared/fd.h"

namespace joblet::kernel {

// Namespaces a process can be born into or leave for a new one of.
enum Namespaces : std::uint64_t {
    kNoNamespace = 0,
    kMountNamespace = 0x00020000, // CLONE_NEW…
    kCgroupNamespace = 0x02000000,
    kUserNamespace = 0x10000000,
    kJobNamespaces = 0x6C000000, // pid, ipc, uts, net
    kJobNamespacesButNet = 0x2C000000,
};

struct Cloned {
    pid_t pid = 0; // 0: this is the child
    Fd pidfd;      // the parent's; CLOEXEC
};
// clone3: a plain fork, nothing shared. `cgroup`: O_PATH directory to be born into, or -1.
// The C library's caches of the child's thread id are stale; nothing here uses them.
Result<Cloned> clone_process(Namespaces namespaces, int cgroup);

Result<void> unshare_namespace(Namespaces what);

Result<void> signal_process(int pidfd, int signal);

struct IdMap {
    std::uint32_t inside = 0; // first id, as seen in the namespace
    std::uint32_t outside = 0;
    std::uint32_t count = 0;
};
// A user namespace with `map` for uids and gids. `proc`: a detached proc mount of the caller's pid namespace. Needs SETUID,
// SETGID and SYS_ADMIN. SIGCHLD must be ignored: the process that carries the namespace at first is not waited for.
Result<Fd> make_user_namespace(int proc, const IdMap& map);
// The caller gets every capability in it, and a full bounding set.
Result<void> join_user_namespace(int user_namespace);

// Real, effective and saved uid and gid 0 of the user namespace that was joined, no groups; checked afterwards, for without
// it the process looks like 65534 inside and still is root outside. EPERM: the ids are not what was set.
Result<void> become_namespace_root();
// From root of the user namespace to another id of it, for good; no groups. With a uid other than 0 the kernel takes the
// capabilities away: whatever needs them comes before. Checked afterwards, as above.
Result<void> become_inner_user(std::uint32_t uid, std::uint32_t gid);
// Real uid that of the job, so that it may signal the job; effective and saved one that the job has not, so that the job may not
// touch its limits: 65534, or 65533 for a job that is 65534 itself.
Result<void> become_job_supervisor(std::uint32_t job_uid);

// Every signal handled by default, none blocked: sixty calls, so once at a program's start.
Result<void> reset_signals();
Result<void> ignore_signal(int signal);
Result<void> default_signal(int signal);
Result<void> block_signal(int signal);
Result<void> unblock_signals();

// Descriptor from[i] becomes i; the first three survive exec, the others do not. Everything else is closed.
Result<void> place_descriptors(std::span<const int> from);

// chdir("/") and make sure that it is the root: after setns a directory of the old namespace could still be there. EXDEV: it
// is not.
Result<void> enter_root_directory();

Result<void> set_host_name(const char* name);
Result<void> set_dumpable(bool dumpable);
void set_process_name(const char* name); // at most 15 bytes are kept

} // namespace joblet::kernel
