#include "broker-root/jobletd/keeper.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <fmt/format.h>

#include "broker-root/jobletd/cgroup_places.h"
#include "broker-root/jobletd/controllers.h"
#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/cgroup.h"
#include "shared/filter.h"

namespace joblet::jobletd {

namespace {

constexpr const char* kKeeper = "keeper";
constexpr const char* kJobs = "jobs";
constexpr int kRetryMs = 50;

constexpr auto kCalls = std::to_array<SyscallRule>({
    {SYS_poll, "poll", "waits for a signal"},
    {SYS_read, "read", "signalfd"},
    {SYS_sendmsg, "sendmsg", "the service manager, if it had no room before"},
    {SYS_close, "close", "what it needed to get there"},
    {SYS_exit_group, "exit_group", "ends"},
});

std::expected<Fd, std::string> make_or_open(int parent, const char* name) {
    auto group = kernel::make_cgroup(parent, name);
    if (!group && group.error() == EEXIST) {
        group = kernel::open_cgroup(parent, name);
    }
    if (!group) {
        return std::unexpected(fmt::format("could not make the group {} in cgroup2: {}", name, std::strerror(group.error())));
    }
    return std::move(*group);
}

} // namespace

std::expected<void, std::string> make_group_of_jobs(ServiceManager& manager) {
    const auto top = find_cgroup2();
    if (!top) {
        return std::unexpected(top.error());
    }
    const auto own = own_group();
    if (!own) {
        return std::unexpected(own.error());
    }
    if (own->empty()) {
        return std::unexpected("--keep-jobs-cgroup is for a process that a service manager has started in a group of its own, and this one "
                               "is at the top of cgroup2; without a manager, start jobletd alone");
    }
    const auto group = open_group(top->get(), *own);
    if (!group) {
        return std::unexpected(fmt::format("could not open jobletd's own group, /{}: {}", *own, std::strerror(group.error())));
    }
    const auto keeper = make_or_open(group->get(), kKeeper);
    if (!keeper) {
        return std::unexpected(keeper.error());
    }
    // Out of the group itself, in which no process may be if it is to hand on controllers
    if (const auto entered = kernel::enter_cgroup(keeper->get()); !entered) {
        return std::unexpected(fmt::format("could not enter the group {}: {}", kKeeper, std::strerror(entered.error())));
    }
    if (const auto jobs = make_or_open(group->get(), kJobs); !jobs) {
        return std::unexpected(jobs.error());
    }
    tell_missing_controllers(top->get(), group->get(), "the unit that keeps the group of jobs must have them in its Delegate=");
    hand_on_controllers(group->get(), *own);

    const auto filter = compile_filter(kCalls, {}, OtherCalls::FailWithEPERM);
    if (!filter) {
        return std::unexpected(filter.error());
    }
    if (const auto confined = kernel::confine_process(0); !confined) {
        return std::unexpected(fmt::format("could not give up capabilities: {}", std::strerror(confined.error())));
    }
    manager.ready();
    if (const int code = install_filter(*filter); code != 0) {
        return std::unexpected(fmt::format("could not install the system call filter: {}", std::strerror(code)));
    }
    return {};
}

void keep_group_of_jobs(ServiceManager& manager, int signals) {
    for (;;) {
        manager.try_again();
        pollfd event{signals, POLLIN, 0};
        ::poll(&event, 1, manager.has_unsent() ? kRetryMs : -1);
        signalfd_siginfo signal{};
        while (::read(signals, &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
            if (signal.ssi_signo != SIGCHLD) {
                return;
            }
        }
    }
}

} // namespace joblet::jobletd
