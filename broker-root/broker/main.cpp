// joblet-broker: decides. Accepts clients for the API, answers the API's requests, orders of workers and spawner.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "broker-root/broker/api_link.h"
#include "broker-root/broker/audit.h"
#include "broker-root/broker/closer.h"
#include "broker-root/broker/config.h"
#include "broker-root/broker/doorman.h"
#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/filter_table.h"
#include "broker-root/broker/jobs.h"
#include "broker-root/broker/requests.h"
#include "broker-root/broker/volumes.h"
#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/cgroup.h"
#include "broker-root/kernel/cgroup_limits.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/layout.h"
#include "shared/close_timer.h"
#include "shared/filter.h"
#include "shared/log.h"

namespace {

using namespace joblet;
using namespace joblet::broker;

// Owner and mode of the socket are root's to say, and only known here. It lies in a directory that only root can write.
bool set_socket_access(const Layout& layout, const BrokerConfig& config) {
    const std::string path = layout.api_socket();
    return ::chown(path.c_str(), 0, config.socket_gid) == 0 && ::chmod(path.c_str(), config.socket_mode) == 0;
}

// Everything that needs more than the broker keeps has been done: no capability, a filter, no way back.
bool give_up_power() {
    const auto program = compile_filter(filter_table(), {}, OtherCalls::KillProcess);
    if (!program) {
        log::error(program.error());
        return false;
    }
    if (const auto confined = kernel::confine_process(0); !confined) {
        log::error(fmt::format("cannot drop capabilities: {}", std::strerror(confined.error())));
        return false;
    }
    if (const int code = install_filter(*program); code != 0) {
        log::error(fmt::format("cannot install the system call filter: {}", std::strerror(code)));
        return false;
    }
    return true;
}

std::expected<AuditLog, std::string> open_audit_log(const Layout& layout, const BrokerConfig& config) {
    const auto state = kernel::open_path(layout.state().c_str(), O_RDONLY | O_DIRECTORY);
    auto logs = kernel::open_path(layout.logs().c_str(), O_RDONLY | O_DIRECTORY);
    if (!state || !logs) {
        return std::unexpected(
            fmt::format("cannot open {}: {}", state ? layout.logs() : layout.state(), std::strerror(state ? logs.error() : state.error())));
    }
    const auto key = load_audit_key(state->get(), logs->get());
    if (!key) {
        return std::unexpected(key.error());
    }
    return AuditLog::open(std::move(*logs), *key, config.audit_file_bytes);
}

// 0 or errno. A worker that died of something else is not the disk's fault.
Task<int> sync_file(Workers& workers, const Fd& file) {
    constexpr int kTries = 3;
    for (int i = 0; i < kTries; ++i) {
        std::vector<Fd> files;
        files.emplace_back(::fcntl(file.get(), F_DUPFD_CLOEXEC, 3));
        const worker::SyncFile order;
        const WorkerReply synced = co_await workers.order(order, std::move(files));
        if (!synced.lost) {
            co_return synced.answer.sys_errno;
        }
    }
    co_return EIO;
}

int serve(const BrokerConfig& config, Host host, AuditLog log, Fd to_closer, std::size_t descriptors) {
    EventLoop loop;
    // Made in the order in which they need each other; the callbacks are called only from the loop, when all are there
    std::optional<Workers> workers;
    std::optional<SpawnerLink> spawner;
    std::optional<ApiLink> api;
    std::optional<Doorman> doorman;
    std::optional<Requests> requests;
    Closer closer(loop, std::move(to_closer), [&] { doorman->update(); });
    DescriptorBudget budget(descriptors / 4); // a connection takes two of the API, which has the same limit
    Supervisor supervisor(loop, Fd(kBrokerSupervisionFd), [&](Role role, std::uint32_t index, Fd socket) {
        switch (role) {
        case Role::Worker:
            workers->adopt(index, std::move(socket));
            break;
        case Role::Spawner:
            spawner->adopt(std::move(socket));
            break;
        case Role::Api:
            api->adopt(std::move(socket));
            break;
        case Role::Broker:
            break;
        }
    });
    workers.emplace(loop, supervisor, config.workers, std::chrono::seconds(config.order_seconds));
    spawner.emplace(loop, supervisor);
    Audit audit(loop, std::move(log), {.sync_each = config.audit_sync_each}, [&](const Fd& file) { return sync_file(*workers, file); });

    Registry registry;
    const News news{
        [&](const Volume& volume) {
            protocol::VolumeChanged message;
            message.volume = entry_of(volume);
            std::memcpy(message.labels.data(), volume.labels.data(), volume.labels.size());
            api->send(message);
        },
        [&](VolumeId id) {
            protocol::VolumeGone message;
            message.id = id;
            api->send(message);
        },
        [&](const protocol::JobEntry& job) {
            protocol::JobChanged message;
            message.job = job;
            api->send(message);
        },
        [&](const AuditFields& fields) { return audit.happened(fields); },
    };
    Slots slots(*spawner, config.slot_first, config.slot_count);
    Jobs jobs({loop, config, supervisor, *workers, *spawner, slots, registry, news, host, closer}, Fd(kBrokerCgroupFd));
    Volumes volumes({loop, config, *workers, slots, registry, jobs, news, host});
    HostReporter reporter({loop, config, *workers, slots, registry, jobs, volumes, host, audit});

    api.emplace(loop, supervisor, closer,
                ApiLink::Callbacks{
                    [&](const protocol::Request& request) { requests->serve(request); },
                    [&](Parting parting) {
                        doorman->close_all();
                        // It is gone, whether that can be written or not
                        (void)audit.happened(AuditFields("api_ended").add("why", parting_word(parting)));
                    },
                    [&] { doorman->update(); },
                });
    doorman.emplace(loop, config, Fd(kBrokerListenerFd), *api, closer, budget);
    requests.emplace(loop, supervisor, *api, *doorman, volumes, jobs, reporter, audit);
    requests->load();
    loop.run();
    audit.stop();
    return 0;
}

int run(int argc, char** argv) {
    std::string root;
    bool print_config = false;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "--root" && i + 1 < argc) {
            root = argv[++i];
        } else if (argument == "--print-config") {
            print_config = true;
        } else {
            std::fputs("usage: joblet-broker [--root DIR] [--print-config]; it is started by jobletd\n", stderr);
            return 2;
        }
    }
    log::start("joblet-broker");
    const auto config = load_broker_config(root);
    if (!config) {
        log::error(config.error());
        return kExitConfiguration;
    }
    if (print_config) {
        std::fputs(print_broker_config(*config).c_str(), stdout);
        return 0;
    }
    if (const auto inherited = kernel::check_inherited_descriptors(kBrokerCgroupFd); !inherited) {
        log::error("refusing to start with other descriptors than jobletd gives: start jobletd");
        return 1;
    }
    for (const int fd : {kBrokerSupervisionFd, kBrokerListenerFd, kBrokerCgroupFd}) {
        ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    ::fcntl(kBrokerListenerFd, F_SETFL, O_RDWR | O_NONBLOCK);
    ::umask(077);
    if (!set_socket_access({root}, *config)) {
        log::error(fmt::format("cannot set owner and mode of the socket: {}", std::strerror(errno)));
        return 1;
    }
    Host host;
    const auto controllers = kernel::enabled_controllers(kBrokerCgroupFd);
    if (!controllers) {
        log::error(fmt::format("cannot read which controllers the groups of jobs have: {}", std::strerror(controllers.error())));
        return 1;
    }
    host.controllers = *controllers;
    if (const std::uint32_t missing = config->required_controllers & ~host.controllers; missing != 0) {
        log::error(fmt::format("broker.toml requires controllers of cgroup2 that jobs do not have here: {}; start jobletd with "
                               "--enable-controllers (under systemd: Delegate= of joblet-jobs.service), or see why the kernel lacks them "
                               "(cgroup.controllers of the root group)",
                               controller_names(missing)));
        return kExitConfiguration;
    }
    auto audit_log = open_audit_log({root}, *config);
    if (!audit_log) {
        log::error(audit_log.error());
        return 1;
    }
    if (!CloseTimer::prepare()) {
        log::error(fmt::format("cannot take over SIGALRM: {}", std::strerror(errno)));
        return 1;
    }
    rlimit descriptors{};
    if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) {
        log::error("cannot tell how many descriptors there may be");
        return 1;
    }
    auto to_closer = Closer::start();
    if (!to_closer) {
        log::error(to_closer.error());
        return 1;
    }
    if (!give_up_power()) {
        return 1;
    }
    return serve(*config, host, std::move(*audit_log), std::move(*to_closer), descriptors.rlim_cur);
}

} // namespace

int main(int argc, char** argv) {
    return run(argc, argv);
}
