// joblet-spawner: clones the stages of jobs, and makes the user namespaces of slots. Obeys only the broker.
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/process.h"
#include "broker-root/kernel/selinux.h"
#include "broker-root/layout.h"
#include "broker-root/spawner/confinement.h"
#include "broker-root/spawner/launch.h"
#include "broker-root/spawner/slot_namespaces.h"
#include "broker-root/spawner/stage.h"
#include "shared/datagram.h"
#include "shared/log.h"

namespace joblet::spawner {

namespace {

constexpr int kEnded = 0;
constexpr int kFailed = 1;

// The root is where the installation lives; nothing below it is of use here, but all of jobletd's programs are started alike,
// and who lists processes can tell installations apart.
bool arguments_are_ours(std::span<char*> arguments) {
    return arguments.size() == 1 || (arguments.size() == 3 && std::string_view(arguments[1]) == "--root");
}

class Spawner {
  public:
    Spawner(Fd proc, Filters filters, bool has_labels) : proc_(std::move(proc)), filters_(std::move(filters)), has_labels_(has_labels) {}

    // Until the broker's socket is closed. Stages that were cloned live on.
    int serve();

  private:
    void carry_out(const MakeSlot& order, const std::vector<Fd>& descriptors) const;
    void carry_out(const Launch& order, std::vector<Fd> descriptors) const;

    Fd proc_;
    Filters filters_;
    bool has_labels_; // of SELinux
};

template <class T> Answer answer_to(const T& order) {
    return {.type = T::kType, .sequence = order.header.sequence};
}

void refuse(Answer answer, Step step, int sys_errno) {
    answer.code = ErrorCode::Internal;
    answer.step = step;
    answer.sys_errno = sys_errno;
    log::error(fmt::format("could not {}: {}", step_phrase(step), std::strerror(sys_errno)));
    send_message(kSpawnerBrokerFd, answer, {}, Wait::Yes);
}

void Spawner::carry_out(const MakeSlot& order, const std::vector<Fd>& /*none*/) const {
    const auto made = make_slot_namespaces(proc_.get(), order.slot_first);
    if (!made) {
        refuse(answer_to(order), Step::MakeSlot, made.error());
        return;
    }
    const std::array descriptors = {made->job.get(), made->volume.get()};
    send_message(kSpawnerBrokerFd, answer_to(order), descriptors, Wait::Yes);
}

void Spawner::carry_out(const Launch& order, std::vector<Fd> descriptors) const {
    const bool on_host_network = (order.flags & kLaunchHostNetwork) != 0;
    const auto namespaces = on_host_network ? kernel::kJobNamespacesButNet : kernel::kJobNamespaces;
    const auto stage = kernel::clone_process(namespaces, descriptors[kLaunchCgroup].get());
    if (stage && stage->pid == 0) {
        run_stage(order, descriptors, filters_.stage, has_labels_ ? proc_.get() : kNoLabels);
    }
    // Before the answer, until which the broker keeps the control socket: who closes it last waits for what its user has left in it
    descriptors.clear();
    if (!stage) {
        refuse(answer_to(order), Step::CloneStage, stage.error());
        return;
    }
    const std::array pidfd = {stage->pidfd.get()};
    send_message(kSpawnerBrokerFd, answer_to(order), pidfd, Wait::Yes);
}

int Spawner::serve() {
    std::array<std::byte, kOrderSizeMax> buffer{};
    for (;;) {
        auto received = receive_datagram(kSpawnerBrokerFd, buffer, Wait::Yes);
        if (!received) {
            if (received.error() == ReceiveError::Closed) {
                return kEnded;
            }
            log::error("the broker's socket cannot be read");
            return kFailed;
        }
        const auto order = decode_order(std::span(buffer).first(received->size), received->descriptors.size());
        if (!order) {
            log::error("the broker sent something that is no order");
            return kFailed;
        }
        std::visit([&](const auto& one) { carry_out(one, std::move(received->descriptors)); }, *order);
    }
}

int explain(std::string_view what, int error) {
    log::error(fmt::format("could not {}: {}", what, std::strerror(error)));
    return kFailed;
}

int run(std::span<char*> arguments) {
    log::start("joblet-spawner");
    if (!arguments_are_ours(arguments)) {
        log::error("the only argument is --root DIR");
        return kExitConfiguration;
    }
    if (const auto inherited = kernel::check_inherited_descriptors(kSpawnerBrokerFd); !inherited) {
        return explain("find exactly the descriptors that jobletd gives (this program is started by it alone)", inherited.error());
    }
    auto filters = compile_filters();
    if (!filters) {
        log::error(filters.error());
        return kFailed;
    }
    auto proc = kernel::make_proc(kernel::HidePid::No, kernel::Attributes::NoSuidNoDevNoExec);
    if (!proc) {
        return explain("mount proc", proc.error());
    }
    const auto has_labels = kernel::runs_in(proc->get(), kernel::Domain::Spawner);
    if (!has_labels) {
        return explain("read its own SELinux context", has_labels.error());
    }
    if (const auto entered = enter_empty_namespace(proc->get()); !entered) {
        return explain("enter an empty mount namespace", entered.error());
    }
    // Children are reaped by the kernel: the broker watches them by pidfd. A log that nobody reads any more is no reason to end
    if (const auto reset = kernel::reset_signals(); !reset) {
        return explain("reset signals", reset.error());
    }
    for (const int signal : kIgnoredSignals) {
        if (const auto ignored = kernel::ignore_signal(signal); !ignored) {
            return explain("ignore a signal", ignored.error());
        }
    }
    if (const auto confined = confine(*filters); !confined) {
        return explain("give up capabilities and install the filter", confined.error());
    }
    return Spawner(std::move(*proc), std::move(*filters), *has_labels).serve();
}

} // namespace

} // namespace joblet::spawner

int main(int argc, char** argv) {
    try {
        return joblet::spawner::run({argv, static_cast<std::size_t>(argc)});
    } catch (const std::exception&) { // no memory: jobletd starts another
        return EXIT_FAILURE;
    }
}
