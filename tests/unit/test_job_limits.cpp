// What a job is held to: what it asks for, what root says, what its volumes say, and what this host can hold.
#include <doctest/doctest.h>

#include <cerrno>

#include "broker-root/broker/job_limits.h"

using namespace joblet;
using namespace joblet::broker;
using protocol::IoLimits;
using protocol::LimitKind;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

Host able_host() {
    Host host;
    host.controllers = protocol::kControllersAll;
    host.devices[0] = {8, 0};
    host.device_count = 1;
    return host;
}

} // namespace

TEST_CASE("what is asked for is held, or refused by the name of what is missing") {
    struct Row {
        std::uint64_t protocol::StartJob::* asked;
        std::uint64_t value;
        std::uint32_t controller;
        Step step;
    };
    for (const auto& [asked, value, controller, step] : {
             Row{&protocol::StartJob::memory_bytes, 64 * kMiB, protocol::kControllerMemory, Step::SetMemoryLimit},
             Row{&protocol::StartJob::swap_bytes, kMiB, protocol::kControllerMemory, Step::SetMemoryLimit},
             Row{&protocol::StartJob::processes, 10, protocol::kControllerPids, Step::SetProcessLimit},
             Row{&protocol::StartJob::cpu_milli, 1500, protocol::kControllerCpu, Step::SetCpuLimit},
         }) {
        protocol::StartJob request;
        request.*asked = value;
        Host host = able_host();
        const auto held = plan_limits(request, {}, host, {}, false);
        REQUIRE(held.has_value());
        CHECK(held->memory_bytes + held->swap_bytes + held->cpu_milli + (held->processes == kDefaultProcesses ? 0 : held->processes) ==
              value);
        host.controllers &= ~controller;
        const auto refused = plan_limits(request, {}, host, {}, false);
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().code == ErrorCode::Unsupported);
        CHECK(refused.error().step == step);
    }
}

TEST_CASE("what root gives counts as asked for; what is built in holds where it can") {
    BrokerConfig config;
    Host host = able_host();
    CHECK(plan_limits({}, config, host, {}, false)->processes == kDefaultProcesses);
    host.controllers = 0;
    const auto nothing = plan_limits({}, config, host, {}, false);
    REQUIRE(nothing.has_value());
    CHECK(nothing->processes == 0);
    CHECK(nothing->controllers == 0);
    config.processes.is_given = true;
    CHECK(plan_limits({}, config, host, {}, false).error().step == Step::SetProcessLimit);
    config.processes = {.value = 0, .is_given = true}; // "none"
    CHECK(plan_limits({}, config, host, {}, false).has_value());
}

TEST_CASE("nobody may ask for more than root says") {
    BrokerConfig config;
    config.memory = {.value = 16 * kMiB, .most = 64 * kMiB, .is_given = true};
    protocol::StartJob request;
    CHECK(plan_limits(request, config, able_host(), {}, false)->memory_bytes == 16 * kMiB);
    request.memory_bytes = 64 * kMiB;
    CHECK(plan_limits(request, config, able_host(), {}, false)->memory_bytes == 64 * kMiB);
    request.memory_bytes = 65 * kMiB;
    const auto refused = plan_limits(request, config, able_host(), {}, false);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == ErrorCode::LimitExceeded);
    CHECK(refused.error().which == static_cast<std::uint32_t>(LimitKind::Memory));
    CHECK(refused.error().limit == 64 * kMiB);
    CHECK(refused.error().asked == 65 * kMiB);
}

TEST_CASE("I/O: the job's word goes before its volumes', of which the lowest counts; what cannot be held is refused") {
    const IoLimits first{1'000'000, 0, 0, 50};
    const IoLimits second{2'000'000, 300'000, 0, 0};
    const IoLimits both = lowest(first, second);
    CHECK(both == IoLimits{1'000'000, 300'000, 0, 50});
    protocol::StartJob request;
    request.io.read_bytes = 5'000'000;
    Host host = able_host();
    const auto planned = plan_limits(request, {}, host, both, true);
    REQUIRE(planned.has_value());
    CHECK(planned->io == IoLimits{5'000'000, 300'000, 0, 50});
    REQUIRE(planned->device_count == 1);
    CHECK(planned->devices[0] == protocol::Device{8, 0});
    // no volume on a disk
    CHECK(plan_limits(request, {}, host, {}, false).error().step == Step::FindDevices);
    CHECK(plan_limits(request, {}, host, {}, false).error().sys_errno == ENODEV);
    // nobody knows the disk
    host.device_count = 0;
    CHECK(plan_limits(request, {}, host, {}, true).error().step == Step::FindDevices);
    CHECK(plan_limits({}, {}, host, both, true).error().code == ErrorCode::Unsupported);
    CHECK(plan_limits({}, {}, host, {}, true).has_value());
    // no controller
    host = able_host();
    host.controllers &= ~protocol::kControllerIo;
    CHECK(plan_limits({}, {}, host, both, true).error().step == Step::SetIoLimit);
    CHECK(can_hold_io(host).error().step == Step::SetIoLimit);
}

TEST_CASE("a device is there once, and no more than fit") {
    protocol::JobLimits limits;
    for (std::uint32_t round = 0; round < 2; ++round) {
        for (std::uint32_t i = 0; i < protocol::kDevicesMax + 3; ++i) {
            const protocol::Device device{7, i};
            add_devices(limits, std::span(&device, 1));
        }
    }
    CHECK(limits.device_count == protocol::kDevicesMax);
    CHECK(limits.devices[1] == protocol::Device{7, 1});
}
