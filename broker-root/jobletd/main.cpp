// jobletd: makes what an installation needs, starts the other programs and keeps them running. Parses nothing but its own
// command line.
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <expected>
#include <span>
#include <string>

#include <fmt/format.h>

#include "broker-root/jobletd/arguments.h"
#include "broker-root/jobletd/cgroup_tree.h"
#include "broker-root/jobletd/directories.h"
#include "broker-root/jobletd/endpoints.h"
#include "broker-root/jobletd/filter_table.h"
#include "broker-root/jobletd/install.h"
#include "broker-root/jobletd/install_host.h"
#include "broker-root/jobletd/keeper.h"
#include "broker-root/jobletd/programs.h"
#include "broker-root/jobletd/service_manager.h"
#include "broker-root/jobletd/services.h"
#include "broker-root/jobletd/supervisor.h"
#include "broker-root/kernel/caps.h"
#include "broker-root/layout.h"
#include "shared/log.h"

namespace joblet::jobletd {

namespace {

constexpr int kExitUsage = 2;
constexpr int kExitFailed = 1;

std::string current_directory() {
    std::array<char, PATH_MAX> path{};
    return ::getcwd(path.data(), path.size()) == nullptr ? "" : path.data();
}

// Whoever started us may have left anything open, also 0, 1 and 2 closed.
bool start_with_three_descriptors() {
    const int null = ::open("/dev/null", O_RDWR);
    if (null < 0) {
        return false;
    }
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) < 0 && ::dup2(null, fd) < 0) {
            return false;
        }
    }
    return ::dup2(null, STDIN_FILENO) == STDIN_FILENO && ::close_range(STDERR_FILENO + 1, UINT_MAX, 0) == 0;
}

// Every job costs the broker and the descriptor store a few; whoever is started by us inherits the limit.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &limit);
    }
}

std::expected<Fd, std::string> take_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) {
        ::sigaddset(&set, signal);
    }
    ::signal(SIGPIPE, SIG_IGN); // a log that nobody reads any more is no reason to end
    Fd signals(::sigprocmask(SIG_BLOCK, &set, nullptr) == 0 ? ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK) : -1);
    if (!signals.valid()) {
        return std::unexpected(fmt::format("could not take signals: {}", std::strerror(errno)));
    }
    return signals;
}

std::expected<void, std::string> confine() {
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        return std::unexpected(fmt::format("could not become the reaper of jobs: {}", std::strerror(errno)));
    }
    const auto permitted = kernel::permitted_among(kOnDemand);
    const CapabilityMask on_demand = permitted == kOnDemand ? kOnDemand : 0; // one is of no use without the other
    const auto confined = permitted ? kernel::confine_process(kHandedOn, on_demand) : std::unexpected(permitted.error());
    if (!confined) {
        return std::unexpected(fmt::format("could not give up capabilities: {}", std::strerror(confined.error())));
    }
    return {};
}

std::expected<int, std::string> keep_jobs_cgroup(ServiceManager& manager) {
    const auto signals = take_signals();
    if (!signals) {
        return std::unexpected(signals.error());
    }
    if (auto made = make_group_of_jobs(manager); !made) {
        return std::unexpected(std::move(made.error()));
    }
    keep_group_of_jobs(manager, signals->get());
    return 0;
}

std::expected<int, std::string> serve(const Arguments& arguments, ServiceManager& manager) {
    const Layout layout{arguments.root};
    auto programs = Programs::find();
    if (!programs) {
        return std::unexpected(std::move(programs.error()));
    }
    auto signals = take_signals();
    if (!signals) {
        return std::unexpected(std::move(signals.error()));
    }
    const auto api = find_api_user(layout, arguments.api_uid ? &*arguments.api_uid : nullptr);
    if (!api) {
        return std::unexpected(api.error());
    }
    if (auto made = make_directories(layout, *api); !made) {
        return std::unexpected(std::move(made.error()));
    }
    const auto lock = take_lock(layout);
    if (!lock) {
        return std::unexpected(lock.error());
    }
    auto groups = arguments.jobs_cgroup.empty()
                      ? CgroupTree::make(layout.root, arguments.enable_controllers ? TopControllers::HandOn : TopControllers::AsTheyAre)
                      : CgroupTree::make_within(arguments.jobs_cgroup);
    if (!groups) {
        return std::unexpected(std::move(groups.error()));
    }
    // So far as root; what follows needs no more than what the others are given
    if (auto confined = confine(); !confined) {
        return std::unexpected(std::move(confined.error()));
    }
    if (auto ended = groups->end_leftovers(); !ended) {
        return std::unexpected(std::move(ended.error()));
    }
    if (auto installed = install_minimal_base(layout); !installed) {
        return std::unexpected(std::move(installed.error()));
    }
    if (auto installed = install_host_base(layout); !installed) {
        return std::unexpected(std::move(installed.error()));
    }
    auto listener = make_listener(layout);
    if (!listener) {
        return std::unexpected(std::move(listener.error()));
    }
    if (auto installed = install_own_filter(); !installed) {
        return std::unexpected(std::move(installed.error()));
    }
    log::info(fmt::format("started, socket {}", layout.api_socket()));
    const int code = Supervisor({layout.root, *api, *programs, *groups, manager, signals->get(), std::move(*listener)}).run();
    groups->remove();
    remove_listener(layout);
    return code;
}

int print_config(const Arguments& arguments) {
    const auto programs = Programs::find();
    if (!programs) {
        log::error(programs.error());
        return kExitFailed;
    }
    const char* const program = arguments.action == Action::PrintBrokerConfig ? "joblet-broker" : "joblet-api";
    const std::array words = {"--print-config", "--root", arguments.root.c_str()};
    log::error(programs->become(program, std::span(words).first(arguments.root.empty() ? 1 : words.size())));
    return kExitFailed;
}

int run(std::span<const char* const> words) {
    const auto arguments = parse_arguments(words, current_directory());
    if (!arguments) {
        (void)std::fprintf(stderr, "jobletd: %s\n", arguments.error().c_str());
        return kExitUsage;
    }
    if (arguments->action == Action::ShowVersion) {
        (void)std::puts("jobletd " JOBLET_VERSION);
        return 0;
    }
    if (arguments->action == Action::ShowHelp) {
        (void)std::fwrite(kUsage.data(), 1, kUsage.size(), stdout);
        return 0;
    }
    if (!start_with_three_descriptors()) {
        return kExitFailed; // nowhere to say so
    }
    ::umask(022);
    log::start("jobletd");
    const bool keeps = arguments->action == Action::KeepJobsCgroup;
    if (arguments->action != Action::Run && !keeps) {
        return print_config(*arguments);
    }
    if (::geteuid() != 0 || ::getuid() != 0) {
        log::error("must be started by root, because it mounts; use sudo");
        return kExitFailed;
    }
    auto manager = ServiceManager::connect(std::getenv("NOTIFY_SOCKET"));
    if (!manager) {
        log::error(manager.error());
        return kExitFailed;
    }
    raise_descriptor_limit();
    const auto code = keeps ? keep_jobs_cgroup(*manager) : serve(*arguments, *manager);
    if (!code) {
        log::error(code.error());
        return kExitFailed;
    }
    return *code;
}

} // namespace

} // namespace joblet::jobletd

int main(int argc, char** argv) {
    return joblet::jobletd::run({argv + 1, static_cast<std::size_t>(argc > 0 ? argc - 1 : 0)});
}
