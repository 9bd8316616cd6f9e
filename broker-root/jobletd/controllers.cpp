#include "broker-root/jobletd/controllers.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include <fmt/format.h>

#include "broker-root/kernel/cgroup_limits.h"
#include "shared/log.h"

namespace joblet::jobletd {

namespace {

struct Controller {
    std::uint32_t bit;
    std::string_view name;
    std::string_view loss;
};
constexpr auto kControllers = std::to_array<Controller>({
    {protocol::kControllerCpu, "cpu", "jobs cannot be limited in CPU"},
    {protocol::kControllerIo, "io", "jobs cannot be limited in what they read and write"},
    {protocol::kControllerMemory, "memory", "jobs cannot be limited in memory"},
    {protocol::kControllerPids, "pids", "jobs cannot be limited in processes"},
});

// Nothing is known is as good as: there is none.
std::uint32_t known(const kernel::Result<std::uint32_t>& bits, std::string_view what) {
    if (!bits) {
        log::warning(fmt::format("could not read which controllers {}: {}", what, std::strerror(bits.error())));
    }
    return bits.value_or(0);
}

} // namespace

void hand_on_controllers(int group, std::string_view title) {
    const auto has = known(kernel::available_controllers(group), fmt::format("{} has", title));
    const auto hands_on = known(kernel::enabled_controllers(group), fmt::format("{} hands on", title));
    for (const auto& controller : kControllers) {
        if ((has & ~hands_on & controller.bit) == 0) {
            continue;
        }
        // One at a time: the kernel takes all of a write or nothing
        if (const auto enabled = kernel::enable_controller(group, controller.bit); !enabled) {
            log::warning(fmt::format("could not enable the controller {} in {}: {}; {}", controller.name, title,
                                     std::strerror(enabled.error()), controller.loss));
        }
    }
}

void tell_missing_controllers(int above, int group, std::string_view hint) {
    const auto missing =
        known(kernel::available_controllers(above), "cgroup2 has") & ~known(kernel::available_controllers(group), "our group has");
    std::string names;
    for (const auto& controller : kControllers) {
        if ((missing & controller.bit) != 0) {
            names += fmt::format("{}{}", names.empty() ? "" : ", ", controller.name);
        }
    }
    if (!names.empty()) {
        log::warning(fmt::format(
            "cgroup2 does not hand on these of its controllers, and jobs cannot be limited in what they are for: {}; {}", names, hint));
    }
}

} // namespace joblet::jobletd
