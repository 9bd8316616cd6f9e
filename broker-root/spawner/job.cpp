#include "broker-root/spawner/job.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/process.h"
#include "broker-root/kernel/terminal.h"
#include "shared/job_spec.h"

namespace joblet::spawner {

namespace {

using kernel::last_errno;
using kernel::Result;

constexpr int kNotStarted = 127; // seen by nobody: pid 1 reads the pipe
constexpr mode_t kUmask = 022;

Result<void> start_session() {
    if (const auto unblocked = kernel::unblock_signals(); !unblocked) { // pid 1 has SIGCHLD blocked
        return unblocked;
    }
    if (::setsid() < 0) {
        return last_errno();
    }
    ::umask(kUmask);
    return {};
}

// One of its own it must get. One that is already somebody's (rnx's own, without -t) cannot become this session's, and need not
Result<void> take_terminal(bool own) {
    if (!own && ::isatty(STDIN_FILENO) != 1) {
        return {};
    }
    const auto taken = kernel::take_terminal(STDIN_FILENO);
    return own ? taken : Result<void>{};
}

// Between the first thing that needs a capability and the last: with another uid than 0 the kernel takes all of them.
Result<void> take_ids(const JobStart& start) {
    if (start.user == 0 && start.group == 0) {
        return {}; // what the stage is
    }
    return kernel::become_inner_user(start.user, start.group);
}

kernel::CapabilityMask capabilities_of(worker::JobKind kind) {
    // A system job is root of its slot's files, in its own user namespace, and of nothing else
    return kind == worker::JobKind::System ? kernel::capability_mask({CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER}) : kernel::CapabilityMask{0};
}

Result<void> give_up_capabilities(worker::JobKind kind) {
    const bool system = kind == worker::JobKind::System;
    const auto keep = capabilities_of(kind);
    if (const auto set = system ? kernel::set_capabilities_across_exec(keep) : kernel::set_capabilities(keep); !set) {
        return set;
    }
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return last_errno();
    }
    return kernel::set_dumpable(true);
}

Result<void> install_job_filter(const FilterProgram& filter) {
    if (const int error = install_filter(filter); error != 0) {
        return std::unexpected(error);
    }
    return {};
}

// The first bytes of the user's that are looked at. Memory of its own, no other thread, no power left: allocating is
// harmless here.
Result<JobSpecView> read_spec(int memory) {
    if (const int error = seal_spec_memory(memory); error != 0) {
        return std::unexpected(error);
    }
    struct stat info{};
    if (::fstat(memory, &info) < 0) {
        return last_errno();
    }
    const auto size = std::min(static_cast<std::size_t>(info.st_size), kJobSpecMax);
    void* const bytes = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, memory, 0);
    if (bytes == MAP_FAILED) {
        return last_errno();
    }
    return parse_job_spec({static_cast<const char*>(bytes), size}); // views into the mapping, which exec takes away
}

Result<void> enter_working_directory(const char* path) {
    if (::chdir(path) < 0) {
        return last_errno();
    }
    // A directory outside the job's root would read as "(unreachable)/…"
    std::array<char, PATH_MAX> real{};
    if (::syscall(SYS_getcwd, real.data(), real.size()) < 0) {
        return last_errno();
    }
    if (real[0] != '/') {
        return std::unexpected(EXDEV);
    }
    return {};
}

// Only comes back if it failed. The C library's search: the job's own PATH, /bin/sh for scripts without interpreter line.
int execute(const JobSpecView& spec) {
    // exec changes none of it; its declarations are older than const
    // NOLINTBEGIN(cppcoreguidelines-pro-type-const-cast)
    ::environ = const_cast<char**>(spec.environment.data());
    ::execvp(spec.arguments.front(), const_cast<char**>(spec.arguments.data()));
    // NOLINTEND(cppcoreguidelines-pro-type-const-cast)
    return errno;
}

[[noreturn]] void fail(int start_pipe, Step step, int sys_errno) {
    const StartFailure failure{step, sys_errno};
    [[maybe_unused]] const ssize_t written = ::write(start_pipe, &failure, sizeof failure);
    ::_exit(kNotStarted);
}

} // namespace

void run_job(const JobStart& start, const FilterProgram& filter) noexcept {
    const auto require = [&](const Result<void>& done, Step step) {
        if (!done) {
            fail(start.start_pipe, step, done.error());
        }
    };
    require(start_session(), Step::ForkJob);
    require(take_terminal(start.has_terminal), Step::OpenTerminal);
    require(kernel::drop_bounding(capabilities_of(start.kind)), Step::DropCapabilities);
    require(take_ids(start), Step::SetIds);
    require(give_up_capabilities(start.kind), Step::DropCapabilities);
    require(install_job_filter(filter), Step::InstallFilter);
    const auto spec = read_spec(start.spec);
    if (!spec) {
        fail(start.start_pipe, Step::ReadJobSpec, spec.error());
    }
    require(enter_working_directory(spec->working_directory), Step::ChangeDirectory);
    fail(start.start_pipe, Step::Exec, execute(*spec));
}

} // namespace joblet::spawner
