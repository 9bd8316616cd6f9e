// Jobs over the RPC interface.
#include <doctest/doctest.h>

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

    auto opened = alice.wait(alice.jobs.openControlRequest().send());
    const auto run = [&alice, &opened](const char* volume, const char* target) {
        auto request = alice.jobs.runRequest();
        auto wanted = request.initRequest();
        auto command = wanted.initCommand(2);
        command.set(0, "echo");
        command.set(1, "hello");
        auto volumes = wanted.initVolumes(1);
        volumes[0].setVolume(volume);
        volumes[0].setTarget(target);
        volumes[0].setReadOnly(true);
        wanted.setControl(opened.getResult().getValue().getControl());
        return alice.wait(request.send());
    };
    CHECK(run("nosuch", "").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(run("data", "/proc/x").getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    CHECK(run("data", "relative").getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    CHECK(text(run("data", "/data").getResult().getError().getMessage()) == "the control socket was given to another run");

    opened = alice.wait(alice.jobs.openControlRequest().send());
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
    CHECK(::recv(alice.descriptor_of(opened.getResult().getValue().getEnd()), &byte, 1, 0) == 1);

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

TEST_CASE("what is no control socket of this connection's is none") {
    World world;
    Client alice(world, kAlice);
    Client bob(world, kBob);
    const auto run = [&alice](rpc::ControlSocket::Client control) {
        auto request = alice.jobs.runRequest();
        request.initRequest().initCommand(1).set(0, "true");
        request.getRequest().setControl(std::move(control));
        const auto answer = alice.wait(request.send());
        return text(answer.getResult().getError().getMessage());
    };
    const auto foreign = bob.wait(bob.jobs.openControlRequest().send());
    constexpr const char* kRefused = "the control socket is not what openControl gave on this connection";
    CHECK(run(kj::heap<OtherControl>()) == kRefused);
    CHECK(run(foreign.getResult().getValue().getControl()) == kRefused);
    auto request = alice.jobs.runRequest();
    request.initRequest().initCommand(1).set(0, "true");
    CHECK(text(alice.wait(request.send()).getResult().getError().getMessage()) == "a job needs a control socket");
}

TEST_CASE("a base that is not there is refused by the broker, and the control socket is not had again") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    const auto opened = alice.wait(alice.jobs.openControlRequest().send());
    auto request = alice.jobs.runRequest();
    request.initRequest().initCommand(1).set(0, "true");
    request.getRequest().setBase("nosuch");
    request.getRequest().setControl(opened.getResult().getValue().getControl());
    CHECK(text(alice.wait(request.send()).getResult().getError().getMessage()) == "there is no base \"nosuch\"");
}

TEST_CASE("control sockets of one connection are bounded, and gone with it") {
    World world;
    std::vector<rpc::ControlSocket::Client> kept;
    Client alice(world, kAlice);
    for (int i = 0; i < 16; ++i) {
        const auto opened = alice.wait(alice.jobs.openControlRequest().send());
        kept.push_back(opened.getResult().getValue().getControl()); // the other end is let go of
    }
    CHECK(alice.wait(alice.jobs.openControlRequest().send()).getResult().getError().getCode() == rpc::ErrorCode::LIMIT_EXCEEDED);
    kept.pop_back();
    world.turn(50);
    CHECK(alice.wait(alice.jobs.openControlRequest().send()).getResult().isValue());
}
