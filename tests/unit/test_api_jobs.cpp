// Jobs over the RPC interface.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/job_spec.h"
#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

TEST_CASE("a job is started with exactly what was asked, waited for, and removed") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    Client bob(world, kBob);

    auto [ours, theirs] = make_seqpacket_pair();
    const auto run = [&alice, &given = theirs](const char* volume, const char* target, const char* base = "") {
        auto request = alice.jobs.runRequest();
        auto wanted = request.initRequest();
        auto command = wanted.initCommand(2);
        command.set(0, "echo");
        command.set(1, "hello");
        wanted.setBase(base);
        auto volumes = wanted.initVolumes(1);
        volumes[0].setVolume(volume);
        volumes[0].setTarget(target);
        volumes[0].setReadOnly(true);
        wanted.setControl(kj::heap<DescriptorServer>(Fd(::dup(given.get()))));
        return alice.wait(request.send());
    };
    CHECK(run("nosuch", "").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(run("data", "/proc/x").getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    CHECK(run("data", "relative").getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    const auto no_base = run("data", "", "nosuch");
    CHECK(text(no_base.getResult().getError().getMessage()) == "there is no base \"nosuch\"");

    const auto started = run("data", "/data");
    REQUIRE(started.getResult().isValue());
    const auto id = text(started.getResult().getValue().getJob().getId());
    CHECK(world.broker.start.volumes[0].target.view() == "/data");
    CHECK(world.broker.start.volumes[0].access == protocol::Access::ReadOnly);
    CHECK(world.broker.start.base.view() == "minimal");

    std::vector<char> spec(4096);
    const auto size = ::pread(world.broker.spec.get(), spec.data(), spec.size(), 0);
    REQUIRE(size > 0);
    const auto parsed = parse_job_spec(std::span(spec).first(static_cast<std::size_t>(size)));
    REQUIRE(parsed);
    CHECK(std::string(parsed->arguments[1]) == "hello");
    CHECK(std::string(parsed->environment[1]) == "HOME=/work");
    CHECK(std::string(parsed->working_directory) == "/work");
    REQUIRE(::send(world.broker.control.get(), "x", 1, 0) == 1); // it is the very socket
    char byte = 0;
    CHECK(::recv(ours.get(), &byte, 1, 0) == 1);

    auto by_bob = bob.jobs.waitRequest();
    by_bob.getSelector().setJob(id);
    CHECK(bob.wait(by_bob.send()).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    auto kill = alice.jobs.signalRequest();
    kill.getSelector().setJob(id);
    kill.setSignal(15);
    CHECK(alice.wait(kill.send()).getResult().isValue());
    CHECK(world.broker.signals == 1);
    const auto remove = [&]() {
        auto request = alice.jobs.removeRequest();
        request.getSelector().setJob(id);
        return alice.wait(request.send());
    };
    CHECK(remove().getResult().getError().getCode() == rpc::ErrorCode::IN_USE);

    auto wait = alice.jobs.waitRequest();
    wait.getSelector().setJob(id);
    auto waiting = wait.send();
    auto stop = alice.jobs.stopRequest();
    stop.getSelector().setJob(id);
    stop.setGraceNs(20'000'000);
    auto stopping = stop.send();
    world.turn(100);
    CHECK(world.broker.signals == 3); // TERM and, after the grace, KILL
    world.broker.end_job(*parse_id<JobId>(id), 3);
    const auto ended = alice.wait(kj::mv(waiting));
    CHECK(ended.getResult().getValue().getExit().getStatus() == 3);
    CHECK(text(ended.getResult().getValue().getExit().getReason()) == "exited with code 3");
    CHECK(alice.wait(kj::mv(stopping)).getResult().getValue().getState() == rpc::JobState::ENDED);

    auto list = alice.jobs.listJobsRequest();
    const auto listed = alice.wait(list.send());
    REQUIRE(listed.getResult().getValue().getJobs().size() == 1);
    CHECK(text(listed.getResult().getValue().getJobs()[0].getCommand()[1]) == "hello");
    CHECK(text(listed.getResult().getValue().getJobs()[0].getVolumes()[0].getName()) == "data");
    CHECK(remove().getResult().isValue());
    CHECK(alice.wait(alice.jobs.listJobsRequest().send()).getResult().getValue().getMatching() == 0);
}

TEST_CASE("a control descriptor of another kind never reaches the broker") {
    World world;
    Client alice(world, kAlice);
    std::array<int, 2> stream{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream.data()) == 0);
    const Fd other(stream[1]);
    for (const int fd : {::open("/dev/null", O_RDWR | O_CLOEXEC), ::open("/", O_PATH | O_CLOEXEC), stream[0]}) {
        auto request = alice.jobs.runRequest();
        request.initRequest().initCommand(1).set(0, "true");
        request.getRequest().setControl(kj::heap<DescriptorServer>(Fd(fd)));
        const auto answer = alice.wait(request.send());
        CHECK(answer.getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    }
    auto request = alice.jobs.runRequest();
    request.initRequest().initCommand(1).set(0, "true");
    CHECK(alice.wait(request.send()).getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
}
