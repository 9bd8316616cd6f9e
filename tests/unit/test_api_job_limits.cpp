// What a job is held to: asked for, refused, shown, and remembered.
#include <doctest/doctest.h>

#include <functional>

#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

namespace {

using Ask = std::function<void(rpc::RunRequest::Builder)>;

auto run(Client& client, const Ask& ask) {
    auto request = client.jobs.runRequest();
    auto wanted = request.initRequest();
    wanted.initCommand(1).set(0, "true");
    wanted.setDetached(true);
    ask(wanted);
    return client.wait(request.send());
}
std::vector<std::string> texts(capnp::List<capnp::Text>::Reader list) {
    std::vector<std::string> out;
    for (const auto one : list) {
        out.push_back(text(one));
    }
    return out;
}
auto get(Client& client, const std::string& job) {
    auto request = client.jobs.getJobRequest();
    request.getSelector().setJob(job);
    return client.wait(request.send());
}
VolumeId limited_volume(Client& client, const char* name, std::uint64_t write_bytes) {
    auto request = client.volumes.createVolumeRequest();
    request.setName(name);
    request.setSizeBytes(kMebibyte);
    request.initIo().setWriteBytes(write_bytes);
    return *parse_id<VolumeId>(text(client.wait(request.send()).getResult().getValue().getVolume().getId()));
}

const std::vector<std::string> kAll = {"cpu", "io", "memory", "pids"};

} // namespace

TEST_CASE("limits of a job are asked for as they are, and it shows what it is held to") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    const auto started = run(alice, [](rpc::RunRequest::Builder wanted) {
        wanted.initVolumes(1)[0].setVolume("data");
        auto limits = wanted.initLimits();
        limits.setMemoryBytes(protocol::kMemoryMin);
        limits.setSwapBytes(1);
        limits.setProcesses(protocol::kProcessesMin);
        limits.setCpuMilli(protocol::kCpuMilliMax);
        auto io = limits.initIo();
        io.setReadBytes(protocol::kIoBytesMin);
        io.setWriteBytes(5000);
        io.setReadOperations(2);
        io.setWriteOperations(2);
    });
    REQUIRE(started.getResult().isValue());
    const auto& start = world.broker.start;
    CHECK(start.memory_bytes == protocol::kMemoryMin);
    CHECK(start.swap_bytes == 1);
    CHECK(start.processes == protocol::kProcessesMin);
    CHECK(start.cpu_milli == protocol::kCpuMilliMax);
    CHECK(start.io == protocol::IoLimits{protocol::kIoBytesMin, 5000, 2, 2});
    const auto id = text(started.getResult().getValue().getJob().getId());
    const auto check = [&](rpc::EffectiveLimits::Reader limits) {
        CHECK(limits.getMemoryBytes() == protocol::kMemoryMin);
        CHECK(limits.getSwapBytes() == 1);
        CHECK(limits.getProcesses() == protocol::kProcessesMin);
        CHECK(limits.getCpuMilli() == protocol::kCpuMilliMax);
        CHECK(limits.getIo().getReadBytes() == protocol::kIoBytesMin);
        CHECK(limits.getIo().getWriteBytes() == 5000);
        CHECK(limits.getIo().getReadOperations() == 2);
        CHECK(limits.getIo().getWriteOperations() == 2);
        CHECK(texts(limits.getDevices()) == std::vector<std::string>{"8:0", "7:0"});
        CHECK(texts(limits.getControllers()) == kAll);
    };
    check(started.getResult().getValue().getJob().getLimits());
    check(get(alice, id).getResult().getValue().getLimits());
    world.broker.end_job(*parse_id<JobId>(id), 0);
    world.turn(20);
    check(get(alice, id).getResult().getValue().getLimits());
}

TEST_CASE("what is not asked for is as configured, and of I/O as the volumes have it; a dry run says so") {
    World world;
    Client alice(world, kAlice);
    limited_volume(alice, "fast", 50'000);
    limited_volume(alice, "slow", 5'000);
    const auto dry = run(alice, [](rpc::RunRequest::Builder wanted) {
        wanted.setDryRun(true);
        auto volumes = wanted.initVolumes(2);
        volumes[0].setVolume("fast");
        volumes[1].setVolume("slow");
    });
    REQUIRE(dry.getResult().isValue());
    CHECK(world.broker.start.io == protocol::IoLimits{});
    const auto limits = dry.getResult().getValue().getWorld().getLimits();
    CHECK(limits.getMemoryBytes() == 256 * kMebibyte);
    CHECK(limits.getProcesses() == 512);
    CHECK(limits.getCpuMilli() == 0);
    CHECK(limits.getIo().getWriteBytes() == 5'000);
    CHECK(texts(limits.getDevices()) == std::vector<std::string>{"8:0"});
    CHECK(texts(limits.getControllers()) == kAll);
    CHECK(dry.getResult().getValue().getJob().getLimits().getProcesses() == 512);

    world.broker.controllers = protocol::kControllerPids;
    const auto plain = run(alice, [](rpc::RunRequest::Builder /*nothing*/) {});
    CHECK(texts(plain.getResult().getValue().getJob().getLimits().getControllers()) == std::vector<std::string>{"pids"});
    CHECK(plain.getResult().getValue().getJob().getLimits().getMemoryBytes() == 0);
}

TEST_CASE("a limit that this host cannot hold, or that root does not allow, is refused by name") {
    World world;
    Client alice(world, kAlice);
    const auto refused = [&alice](const std::function<void(rpc::ResourceLimits::Builder)>& ask) {
        const auto answer = run(alice, [&](rpc::RunRequest::Builder wanted) { ask(wanted.initLimits()); });
        REQUIRE(answer.getResult().isError());
        const auto error = answer.getResult().getError();
        return std::tuple(error.getCode(), text(error.getMessage()), field(error, "limit_name"));
    };
    CHECK(refused([](auto limits) { limits.setMemoryBytes(2048 * kMebibyte); }) ==
          std::tuple(rpc::ErrorCode::LIMIT_EXCEEDED,
                     "cannot start the job: the memory of a job is limited to 1.0 GiB; 0 B used, 2.0 GiB asked for", "jobs.memory_max"));
    world.broker.controllers = 0;
    constexpr auto kUnsupported = rpc::ErrorCode::UNSUPPORTED;
    CHECK(refused([](auto limits) { limits.setMemoryBytes(8 * kMebibyte); }) ==
          std::tuple(kUnsupported,
                     "cannot start the job: this host's kernel cannot hold a limit of memory (controller memory is not enabled for joblet)",
                     ""));
    CHECK(refused([](auto limits) { limits.setSwapBytes(1); }) ==
          std::tuple(kUnsupported,
                     "cannot start the job: this host's kernel cannot hold a limit of memory (controller memory is not enabled for joblet)",
                     ""));
    CHECK(refused([](auto limits) { limits.setProcesses(2); }) ==
          std::tuple(
              kUnsupported,
              "cannot start the job: this host's kernel cannot hold a limit of processes (controller pids is not enabled for joblet)", ""));
    CHECK(refused([](auto limits) { limits.setCpuMilli(10); }) ==
          std::tuple(kUnsupported,
                     "cannot start the job: this host's kernel cannot hold a limit of CPU time (controller cpu is not enabled for joblet)",
                     ""));
    CHECK(refused([](auto limits) { limits.initIo().setReadOperations(2); }) ==
          std::tuple(kUnsupported,
                     "cannot start the job: this host's kernel cannot hold a limit of I/O (controller io is not enabled for joblet)", ""));
}

TEST_CASE("what an ended job was held to is remembered when the broker knows only how it ended") {
    Job remembered;
    remembered.owner_uid = kAlice;
    remembered.state = protocol::JobState::Running;
    remembered.limits.controllers = protocol::kControllerMemory;
    remembered.limits.memory_bytes = 7 * kMebibyte;
    std::optional<World> world;
    world.emplace(
        [&](FakeBroker& broker) {
            remembered.id = broker.add_job(kAlice, {});
            broker.end_job(remembered.id, 0);
        },
        ApiConfig{}, [&]() { return std::vector<Job>{remembered}; });
    Client alice(*world, kAlice);
    const auto job = get(alice, to_string(remembered.id));
    CHECK(job.getResult().getValue().getState() == rpc::JobState::ENDED);
    CHECK(job.getResult().getValue().getLimits().getMemoryBytes() == 7 * kMebibyte);
    CHECK(texts(job.getResult().getValue().getLimits().getControllers()) == std::vector<std::string>{"memory"});
}
