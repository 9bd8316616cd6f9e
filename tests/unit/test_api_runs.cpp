// What can be asked for at the start of a job, and what becomes of it.
#include <doctest/doctest.h>

#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <optional>

#include <fmt/format.h>

#include "api-unpriv/rpc/exit_reason.h"
#include "shared/job_spec.h"
#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

namespace {

using Ask = std::function<void(rpc::RunRequest::Builder)>;

// A run of `true`, detached unless `ask` says otherwise.
auto run(Client& client, const Ask& ask = {}) {
    auto request = client.jobs.runRequest();
    auto wanted = request.initRequest();
    wanted.initCommand(1).set(0, "true");
    wanted.setDetached(true);
    if (ask) {
        ask(wanted);
    }
    return client.wait(request.send());
}
auto get(Client& client, const std::string& job) {
    auto request = client.jobs.getJobRequest();
    request.getSelector().setJob(job);
    return client.wait(request.send());
}
JobId id_of(const std::string& text) {
    return *parse_id<JobId>(text);
}

struct Wrong {
    const char* field;
    Ask ask;
};

} // namespace

TEST_CASE("a detached job gets a control socket that nobody holds, and what was asked for") {
    World world;
    world.broker.host_network = true;
    Client alice(world, kAlice);
    const auto started = run(alice, [](rpc::RunRequest::Builder wanted) {
        wanted.setName("web");
        wanted.setUser(65535);
        wanted.setGroup(7);
        wanted.setTimeoutNs(protocol::kTimeoutMax);
        wanted.setNetwork(rpc::RunRequest::Network::HOST);
        wanted.setReadOnlyWork(true);
        wanted.setWorkBytes(protocol::kScratchMin);
        wanted.setTmpBytes(2 * kMebibyte);
        wanted.setLogMaxBytes(protocol::kLogMin);
    });
    REQUIRE(started.getResult().isValue());
    CHECK_FALSE(started.getResult().getValue().hasWorld());
    const auto& start = world.broker.start;
    CHECK(start.flags == (protocol::kStartDetached | protocol::kStartHostNetwork | protocol::kStartReadOnlyWork));
    CHECK(start.user == 65535);
    CHECK(start.group == 7);
    CHECK(start.timeout_ns == protocol::kTimeoutMax);
    CHECK(start.work_bytes == protocol::kScratchMin);
    CHECK(start.tmp_bytes == 2 * kMebibyte);
    CHECK(start.log_bytes == protocol::kLogMin);
    char byte = 0;
    CHECK(::recv(world.broker.control.get(), &byte, 1, MSG_DONTWAIT) == 0); // hung up
    std::vector<char> spec(4096);
    const auto size = ::pread(world.broker.spec.get(), spec.data(), spec.size(), 0);
    REQUIRE(size > 0);
    const auto parsed = parse_job_spec(std::span(spec).first(static_cast<std::size_t>(size)));
    REQUIRE(parsed);
    for (const char* variable : parsed->environment) {
        CHECK((variable == nullptr || !std::string_view(variable).starts_with("USER=")));
    }

    const auto again = run(alice, [](rpc::RunRequest::Builder wanted) { wanted.setName("web"); });
    CHECK(again.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
    CHECK(run(alice).getResult().isValue()); // nothing asked for
    CHECK(world.broker.start.flags == protocol::kStartDetached);
}

TEST_CASE("what no job was started with makes room for what the next is, however often a client changes his mind") {
    World world;
    Client alice(world, 1000);
    const auto named = run(alice, [](rpc::RunRequest::Builder wanted) { wanted.setName("web"); });
    REQUIRE(named.getResult().isValue());
    for (int i = 0; i < 20; ++i) {
        const auto again = run(alice, [](rpc::RunRequest::Builder wanted) { wanted.setName("web"); }); // refused here
        REQUIRE(again.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
        REQUIRE(alice.wait(alice.jobs.openControlRequest().send()).getResult().isValue()); // and let go of
        (void)alice.jobs.openControlRequest().send();                                      // nobody waits for this one
    }
    CHECK(run(alice).getResult().isValue());
    CHECK(world.broker.channels() <= 4);
    CHECK(world.broker.faults == 0);
}

TEST_CASE("what a job cannot be asked for never reaches the broker, and names its field") {
    World world;
    Client alice(world, kAlice);
    const std::vector<Wrong> wrong = {
        {"user", [](auto wanted) { wanted.setUser(65536); }},
        {"group", [](auto wanted) { wanted.setGroup(65536); }},
        {"timeoutNs", [](auto wanted) { wanted.setTimeoutNs(protocol::kTimeoutMax + 1); }},
        {"workBytes", [](auto wanted) { wanted.setWorkBytes(protocol::kScratchMin - 1); }},
        {"tmpBytes", [](auto wanted) { wanted.setTmpBytes(protocol::kVolumeSizeMax + 1); }},
        {"logMaxBytes", [](auto wanted) { wanted.setLogMaxBytes(protocol::kLogMin - 1); }},
        {"name", [](auto wanted) { wanted.setName("a/b"); }},
        {"control", [](auto wanted) { wanted.setControl(kj::heap<OtherControl>()); }},
        {"control", [](auto wanted) { wanted.setDetached(false); }},
        {"logMaxBytes",
         [](auto wanted) {
             wanted.setDetached(false);
             wanted.setDryRun(true);
             wanted.setLogMaxBytes(kMebibyte);
         }},
        {"removeAfterwards",
         [](auto wanted) {
             wanted.setDetached(false);
             wanted.setDryRun(true);
             wanted.setRemoveAfterwards(true);
         }},
        {"limits.memoryBytes", [](auto wanted) { wanted.initLimits().setMemoryBytes(protocol::kMemoryMin - 1); }},
        {"limits.memoryBytes", [](auto wanted) { wanted.initLimits().setMemoryBytes(protocol::kVolumeSizeMax + 1); }},
        {"limits.swapBytes", [](auto wanted) { wanted.initLimits().setSwapBytes(protocol::kVolumeSizeMax + 1); }},
        {"limits.processes", [](auto wanted) { wanted.initLimits().setProcesses(protocol::kProcessesMin - 1); }},
        {"limits.processes", [](auto wanted) { wanted.initLimits().setProcesses(protocol::kProcessesMax + 1); }},
        {"limits.cpuMilli", [](auto wanted) { wanted.initLimits().setCpuMilli(protocol::kCpuMilliMin - 1); }},
        {"limits.cpuMilli", [](auto wanted) { wanted.initLimits().setCpuMilli(protocol::kCpuMilliMax + 1); }},
        {"limits.io.readBytes", [](auto wanted) { wanted.initLimits().initIo().setReadBytes(protocol::kIoBytesMin - 1); }},
        {"limits.io.writeBytes", [](auto wanted) { wanted.initLimits().initIo().setWriteBytes(protocol::kIoLimitMax + 1); }},
        {"limits.io.readOperations", [](auto wanted) { wanted.initLimits().initIo().setReadOperations(protocol::kIoLimitMax + 1); }},
        {"limits.io.writeOperations", [](auto wanted) { wanted.initLimits().initIo().setWriteOperations(~std::uint64_t{0}); }},
    };
    for (const auto& [name, ask] : wrong) {
        CAPTURE(name);
        const auto answer = run(alice, ask);
        REQUIRE(answer.getResult().isError());
        CHECK(answer.getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
        CHECK(field(answer.getResult().getError(), "field") == name);
    }
    CHECK(world.broker.asked<protocol::StartJob>().empty());
}

TEST_CASE("the broker's refusals of a job name what is missing") {
    World world;
    Client alice(world, kAlice);
    const auto refused = [&alice](const Ask& ask) {
        const auto answer = run(alice, ask);
        REQUIRE(answer.getResult().isError());
        const auto error = answer.getResult().getError();
        return std::tuple(error.getCode(), text(error.getMessage()), text(error.getHint()));
    };
    CHECK(refused([](auto wanted) { wanted.setBase("debian"); }) ==
          std::tuple(rpc::ErrorCode::NOT_FOUND, "there is no base \"debian\"", "this host has: host, minimal"));
    CHECK(refused([](auto wanted) { wanted.setBase("broken"); }) ==
          std::tuple(rpc::ErrorCode::UNSUPPORTED, "base \"broken\" was refused when the service started; its log says why",
                     "this host has: host, minimal"));
    CHECK(refused([](auto wanted) { wanted.setNetwork(rpc::RunRequest::Network::HOST); }) ==
          std::tuple(rpc::ErrorCode::PERMISSION_DENIED, "the network of the host is not allowed for jobs here",
                     "broker.toml, section [jobs], host_network"));
    struct Limit {
        protocol::LimitKind kind;
        const char* key;
    };
    for (const auto& [kind, key] :
         {Limit{protocol::LimitKind::WorkSize, "jobs.work_size_max"}, Limit{protocol::LimitKind::TmpSize, "jobs.tmp_size_max"},
          Limit{protocol::LimitKind::LogSize, "jobs.log_size_max"}}) {
        protocol::Reply reply;
        reply.code = ErrorCode::LimitExceeded;
        reply.which = static_cast<std::uint32_t>(kind);
        reply.limit = kMebibyte;
        reply.asked = 2 * kMebibyte;
        world.broker.refuse_next(reply);
        const auto answer = run(alice);
        REQUIRE(answer.getResult().isError());
        CHECK(field(answer.getResult().getError(), "limit_name") == key);
        CHECK(field(answer.getResult().getError(), "asked") == "2097152");
    }
}

TEST_CASE("a dry run says what the job would have, and leaves nothing behind") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    const auto dry = run(alice, [](rpc::RunRequest::Builder wanted) {
        wanted.setDetached(false);
        wanted.setDryRun(true);
        wanted.setName("web");
        wanted.setHostName("h");
        wanted.setUser(5);
        wanted.setTimeoutNs(9);
        wanted.setReadOnlyWork(true);
        wanted.setWorkBytes(2 * kMebibyte);
        wanted.initEnvironment(1).set(0, "A=1");
        auto volume = wanted.initVolumes(1)[0];
        volume.setVolume("data");
        volume.setTarget("/data");
        volume.setReadOnly(true);
    });
    REQUIRE(dry.getResult().isValue());
    CHECK(world.broker.start.flags == (protocol::kStartDryRun | protocol::kStartReadOnlyWork));
    const auto job = dry.getResult().getValue().getJob();
    CHECK(text(job.getId()).empty());
    CHECK(text(job.getName()) == "web");
    REQUIRE(dry.getResult().getValue().hasWorld());
    const auto planned = dry.getResult().getValue().getWorld();
    std::vector<std::string> mounts;
    for (const auto mount : planned.getMounts()) {
        mounts.push_back(fmt::format("{} {} {} {} {}", text(mount.getPath()), text(mount.getKind()), mount.getSizeBytes(),
                                     mount.getReadOnly() ? "ro" : "rw", text(mount.getVolume())));
    }
    CHECK(mounts == std::vector<std::string>{"/ base 0 ro ", "/data volume 1048576 ro data", "/dev devices 0 ro ",
                                             "/dev/pts terminals 0 rw ", "/dev/shm memory 67108864 rw ", "/proc proc 0 ro ",
                                             "/tmp memory 67108864 rw ", "/volumes/data volume 1048576 ro data",
                                             "/work memory 2097152 ro "});
    CHECK(planned.getUidFirst() == 0x70000000);
    CHECK(planned.getUidCount() == 65536);
    CHECK(planned.getUser() == 5);
    CHECK(text(planned.getHostName()) == "h");
    CHECK(text(planned.getWorkingDirectory()) == "/work");
    CHECK(text(planned.getCommand()[0]) == "true");
    CHECK(text(planned.getEnvironment()[1]) == "HOME=/work");
    CHECK(text(planned.getEnvironment()[2]) == "HOSTNAME=h");
    CHECK(text(planned.getEnvironment()[3]) == "A=1");
    CHECK(planned.getTimeoutNs() == 9);
    CHECK(planned.getLogMaxBytes() == 0);
    CHECK(text(planned.getBase()) == "minimal");

    CHECK(alice.wait(alice.jobs.listJobsRequest().send()).getResult().getValue().getMatching() == 0);
    const auto detached = run(alice, [](auto wanted) { wanted.setDryRun(true); });
    CHECK(detached.getResult().getValue().getWorld().getLogMaxBytes() == 8 * kMebibyte);
    CHECK(run(alice, [](auto wanted) { wanted.setName("web"); }).getResult().isValue()); // the name is free
    const auto taken = run(alice, [](auto wanted) {
        wanted.setName("web");
        wanted.setDryRun(true);
    });
    CHECK(taken.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
}

TEST_CASE("a job that is to be removed at its end is gone after it, and whoever waited has the answer") {
    World world;
    Client alice(world, kAlice);
    const auto started = run(alice, [](auto wanted) { wanted.setRemoveAfterwards(true); });
    REQUIRE(started.getResult().isValue());
    const auto id = text(started.getResult().getValue().getJob().getId());
    auto wait = alice.jobs.waitRequest();
    wait.getSelector().setJob(id);
    auto waiting = wait.send();
    auto stop = alice.jobs.stopRequest();
    stop.getSelector().setJob(id);
    auto stopping = stop.send();
    world.turn(20);
    world.broker.next_release = static_cast<int>(ErrorCode::Unavailable); // and asked again
    world.broker.end_job(id_of(id), 3);
    const auto ended = alice.wait(kj::mv(waiting));
    REQUIRE(ended.getResult().isValue());
    CHECK(ended.getResult().getValue().getExit().getCode() == 3);
    CHECK(alice.wait(kj::mv(stopping)).getResult().isValue());
    CHECK(world.eventually([&]() { return world.broker.released == 1; }));
    world.turn(20);
    CHECK(get(alice, id).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
}

TEST_CASE("a removal at the end is carried out after a restart, whoever saw the end") {
    Job alive;
    alive.owner_uid = kAlice;
    alive.detached = true;
    alive.remove_at_end = true;
    alive.state = protocol::JobState::Running;
    Job released = alive; // by the broker, before the daemon went
    released.id = make_random_id<JobId>();
    released.state = protocol::JobState::Ended;
    released.exit.magic = kExitMagic;
    released.exit.kind = ExitKind::Exited;
    JobId kept;
    std::optional<World> world;
    world.emplace(
        [&](FakeBroker& broker) {
            alive.id = broker.add_job(kAlice, {});
            kept = broker.add_job(kAlice, {});
            broker.end_job(alive.id, 0);
            broker.end_job(kept, 0);
        },
        ApiConfig{}, [&]() { return std::vector<Job>{alive, released}; });
    Client alice(*world, kAlice);
    CHECK(world->eventually([&]() { return world->broker.released == 1; }));
    world->turn(20);
    const auto listed = alice.wait(alice.jobs.listJobsRequest().send());
    REQUIRE(listed.getResult().getValue().getJobs().size() == 1);
    CHECK(text(listed.getResult().getValue().getJobs()[0].getId()) == to_string(kept));
}

TEST_CASE("an end has its reason in words") {
    const auto reason = [](ExitKind kind, std::uint32_t flags = 0, int number = 0) {
        ExitRecord record;
        record.magic = kExitMagic;
        record.kind = kind;
        record.flags = flags;
        record.ended_ns = 1;
        (kind == ExitKind::Exited ? record.code : kind == ExitKind::Signaled ? record.signal : record.sys_errno) = number;
        record.step = kind == ExitKind::SetupFailed ? Step::OpenTerminal : Step::None;
        return exit_reason(record);
    };
    CHECK(reason(ExitKind::Exited, 0, 1) == "exited with code 1");
    CHECK(reason(ExitKind::Signaled, 0, SIGSEGV) == "killed by SIGSEGV");
    CHECK(reason(ExitKind::Signaled, 0, 63) == "killed by signal 63");
    CHECK(reason(ExitKind::Signaled, kExitTimedOut, SIGTERM) == "ended by its timeout (SIGTERM)");
    CHECK(reason(ExitKind::Signaled, kExitTimedOut, SIGKILL) == "ended by its timeout (SIGKILL)");
    CHECK(reason(ExitKind::Exited, kExitTimedOut, 2) == "ended by its timeout (it exited with code 2)");
    CHECK(reason(ExitKind::Signaled, kExitOutOfMemory, SIGKILL) == "killed for want of memory");
    CHECK(reason(ExitKind::Killed, kExitOutOfMemory) == "killed for want of memory");
    CHECK(reason(ExitKind::Exited, kExitOutOfMemory, 1) == "exited with code 1, after a process of it was killed for want of memory");
    CHECK(reason(ExitKind::SetupFailed, 0, EMFILE) == "could not open the terminal of the job: Too many open files");
    CHECK(reason(ExitKind::ExecFailed, 0, ENOENT) == "could not execute the command: No such file or directory");
    CHECK(reason(ExitKind::Killed) == "killed with all its processes");
    ExitRecord unseen;
    unseen.kind = ExitKind::Killed;
    CHECK(exit_reason(unseen) == "its end was not seen, the host or the service went down");
}
