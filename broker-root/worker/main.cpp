// joblet-worker: disks and mounts. Obeys only the broker, one order at a time; see orders.h.
#include <linux/capability.h>
#include <sys/stat.h>

#include <charconv>
#include <csignal>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "broker-root/broker/config.h"
#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/process.h"
#include "broker-root/kernel/selinux.h"
#include "broker-root/layout.h"
#include "broker-root/worker/abilities.h"
#include "broker-root/worker/filter_table.h"
#include "broker-root/worker/own_namespace.h"
#include "broker-root/worker/record.h"
#include "broker-root/worker/service.h"
#include "shared/filter.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

constexpr int kEnded = 0;
constexpr int kFailed = 1;

struct Arguments {
    std::string root;
    unsigned index = 0; // tells the workers of one installation apart in logs and process lists
};

// --root DIR and --index N, both optional.
std::optional<Arguments> parse_arguments(std::span<char* const> words) {
    Arguments out;
    for (std::size_t at = 1; at < words.size(); at += 2) {
        if (at + 1 == words.size()) {
            return std::nullopt;
        }
        const std::string_view name = words[at];
        const std::string_view value = words[at + 1];
        if (name == "--root" && (value.empty() || value.front() == '/')) {
            out.root = value == "/" ? "" : value;
        } else if (name == "--index") {
            const auto parsed = std::from_chars(value.data(), value.data() + value.size(), out.index);
            if (parsed.ec != std::errc{} || parsed.ptr != value.data() + value.size()) {
                return std::nullopt;
            }
        } else {
            return std::nullopt;
        }
    }
    return out;
}

int explain(std::string_view what, int error) {
    log::error(fmt::format("could not {}: {}", what, std::strerror(error)));
    return kFailed;
}

// Growing: EXT4_IOC_RESIZE_FS asks for SYS_RESOURCE, and wants the root of the file system open, which is a slot's and closed to root:
// DAC_READ_SEARCH. One is of no use without the other. They are effective for these two calls alone: SYS_RESOURCE ignores quotas.
kernel::Result<Abilities> find_abilities(int proc) {
    const auto growing = kernel::capability_mask({CAP_SYS_RESOURCE, CAP_DAC_READ_SEARCH});
    const auto permitted = kernel::permitted_among(growing);
    const auto can_avoid_swap = kernel::tmpfs_can_avoid_swap();
    const auto has_labels = kernel::runs_in(proc, kernel::Domain::Worker);
    if (!permitted || !can_avoid_swap) {
        return std::unexpected(!permitted ? permitted.error() : can_avoid_swap.error());
    }
    if (!has_labels) {
        return std::unexpected(has_labels.error());
    }
    return Abilities{.memory_swap = *can_avoid_swap ? kernel::Swap::Never : kernel::Swap::Allowed,
                     .growing = *permitted == growing ? growing : kernel::CapabilityMask{0},
                     .has_labels = *has_labels};
}

int run(std::span<char* const> words) {
    const auto arguments = parse_arguments(words);
    log::start(fmt::format("joblet-worker-{}", arguments ? arguments->index : 0));
    if (!arguments) {
        log::error("the arguments are --root DIR (absolute) and --index N");
        return kExitConfiguration;
    }
    if (const auto inherited = kernel::check_inherited_descriptors(kWorkerBrokerFd); !inherited) {
        return explain("find exactly the descriptors that jobletd gives (this program is started by it alone)", inherited.error());
    }
    ::umask(077);
    const auto config = load_broker_config(arguments->root);
    if (!config) {
        log::error(config.error());
        return kExitConfiguration;
    }
    const auto filter = compile_filter(worker_calls(), {}, OtherCalls::KillProcess);
    if (!filter) {
        log::error(filter.error());
        return kFailed;
    }
    if (!start_checksums()) {
        log::error("the checksum library does not start");
        return kFailed;
    }
    const auto own = enter_own_namespace(Layout{arguments->root}, *config);
    if (!own) {
        log::error(own.error());
        return kFailed;
    }
    // A log that nobody reads any more is no reason to end.
    if (const auto ignored = kernel::ignore_signal(SIGPIPE); !ignored) {
        return explain("ignore a signal", ignored.error());
    }
    const auto abilities = find_abilities(own->proc.get());
    if (!abilities) {
        return explain("find out what this machine can do", abilities.error());
    }
    Service service(kWorkerBrokerFd, *own, *abilities);
    const auto serving = kernel::capability_mask({CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_CHOWN});
    if (const auto confined = kernel::confine_process(serving, abilities->growing); !confined) {
        return explain("give up capabilities", confined.error());
    }
    if (const int error = install_filter(*filter); error != 0) {
        return explain("install the filter", error);
    }
    return service.run() ? kEnded : kFailed;
}

} // namespace
} // namespace joblet::worker

int main(int argc, char** argv) {
    return joblet::worker::run({argv, static_cast<std::size_t>(argc)});
}
