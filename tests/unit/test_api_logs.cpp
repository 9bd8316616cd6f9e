// Logs of jobs, what admins may do with the jobs of others, and the bases of the host.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

namespace {

std::string run_detached(Client& client) {
    auto request = client.jobs.runRequest();
    auto wanted = request.initRequest();
    wanted.initCommand(1).set(0, "true");
    wanted.setDetached(true);
    const auto started = client.wait(request.send());
    REQUIRE(started.getResult().isValue());
    return text(started.getResult().getValue().getJob().getId());
}
auto logs(Client& client, const std::string& job, bool everybody = false) {
    auto request = client.jobs.logsRequest();
    request.getSelector().setJob(job);
    if (everybody) {
        request.getSelector().initScope().setEverybody();
    }
    return client.wait(request.send());
}
std::string contents_of(Client& client, rpc::Descriptor::Client descriptor) {
    const auto fd = client.wait(descriptor.getFd());
    std::array<char, 64> bytes{};
    ssize_t size = -1;
    KJ_IF_MAYBE (number, fd) {
        size = ::pread(*number, bytes.data(), bytes.size(), 0);
    }
    return size < 0 ? std::string("nothing") : std::string(bytes.data(), static_cast<std::size_t>(size));
}
std::size_t open_descriptors() {
    std::size_t count = 0;
    for (int fd = 0; fd < 1024; ++fd) {
        count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    }
    return count;
}

} // namespace

TEST_CASE("the log of a detached job comes as two descriptors, running or ended") {
    World world;
    Client alice(world, kAlice);
    const auto id = run_detached(alice);
    for (int round = 0; round < 2; ++round) {
        const auto answer = logs(alice, id.substr(0, 8));
        REQUIRE(answer.getResult().isValue());
        const auto log = answer.getResult().getValue();
        const std::set<std::string> contents = {contents_of(alice, log.getFirst()), contents_of(alice, log.getSecond())};
        CHECK(contents == std::set<std::string>{"first", "second"});
        world.broker.end_job(*parse_id<JobId>(id), 0);
        world.turn(20);
    }
    Client bob(world, kBob);
    CHECK(text(logs(bob, id).getResult().getError().getMessage()) == "there is no job \"" + id + "\"");
}

TEST_CASE("a job without a log says so, and one whose log is gone as well") {
    World world;
    Client alice(world, kAlice);
    const auto other = to_string(world.add_job(kAlice, {}));
    const auto none = logs(alice, other);
    CHECK(none.getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(text(none.getResult().getError().getMessage()) == "job " + other + " has no log: only detached jobs have one");
    const auto id = run_detached(alice);
    protocol::Reply reply;
    reply.code = ErrorCode::NotFound;
    world.broker.refuse_next(reply);
    CHECK(text(logs(alice, id).getResult().getError().getMessage()) == "the log of job " + id + " is gone");
    reply.code = ErrorCode::Internal;
    reply.step = Step::OpenLog;
    reply.sys_errno = EIO;
    world.broker.refuse_next(reply);
    CHECK(text(logs(alice, id).getResult().getError().getMessage()) ==
          "cannot open the log of job " + id + ": could not open the log of the job: Input/output error");
}

TEST_CASE("a client holds so many logs and no more, and the daemon keeps no descriptor that he has given back") {
    World world;
    Client alice(world, kAlice);
    const auto id = run_detached(alice);
    const auto before = open_descriptors();
    {
        std::vector<decltype(logs(alice, id))> kept;
        for (int i = 0; i < 16; ++i) {
            kept.push_back(logs(alice, id));
            REQUIRE(kept.back().getResult().isValue());
        }
        CHECK(open_descriptors() >= before + 32);
        const auto answer = logs(alice, id);
        CHECK(answer.getResult().getError().getCode() == rpc::ErrorCode::LIMIT_EXCEEDED);
        CHECK(field(answer.getResult().getError(), "limit_name") == "logs_per_connection");
    }
    CHECK(world.eventually([&]() { return open_descriptors() == before; }));
    CHECK(logs(alice, id).getResult().isValue());
}

TEST_CASE("admins see and manage the jobs of others only when they say so, and others never") {
    World world;
    Client alice(world, kAlice);
    Client bob(world, kBob);
    Client root(world, 0, true);
    const auto id = run_detached(alice);
    const auto everybody = [&id](auto request) {
        request.getSelector().setJob(id);
        request.getSelector().initScope().setEverybody();
        return request;
    };
    CHECK(logs(bob, id, true).getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);
    CHECK(logs(root, id).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(world.broker.asked<protocol::OpenLog>().empty());
    CHECK(logs(root, id, true).getResult().isValue());
    CHECK(world.broker.asked<protocol::OpenLog>().back().authority == protocol::Authority::Admin);
    CHECK(logs(alice, id).getResult().isValue());
    CHECK(world.broker.asked<protocol::OpenLog>().back().authority == protocol::Authority::User);

    CHECK(bob.wait(everybody(bob.jobs.getJobRequest()).send()).getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);
    CHECK(root.wait(everybody(root.jobs.getJobRequest()).send()).getResult().isValue());
    auto list = root.jobs.listJobsRequest();
    CHECK(root.wait(list.send()).getResult().getValue().getMatching() == 0);
    list = root.jobs.listJobsRequest();
    list.initScope().setUser(kAlice);
    CHECK(root.wait(list.send()).getResult().getValue().getMatching() == 1);
    auto signal = everybody(root.jobs.signalRequest());
    signal.setSignal(15);
    CHECK(root.wait(signal.send()).getResult().isValue());
    CHECK(world.broker.asked<protocol::SignalJob>().back().authority == protocol::Authority::Admin);
    auto stopping = everybody(root.jobs.stopRequest()).send();
    CHECK(world.eventually([&]() { return world.broker.signals == 2; }));
    world.broker.end_job(*parse_id<JobId>(id), 0);
    CHECK(root.wait(kj::mv(stopping)).getResult().isValue());
    CHECK(bob.wait(everybody(bob.jobs.removeRequest()).send()).getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);
    CHECK(root.wait(everybody(root.jobs.removeRequest()).send()).getResult().isValue());
    CHECK(world.broker.asked<protocol::ReleaseJob>().back().authority == protocol::Authority::Admin);
}

TEST_CASE("the bases of the host are listed as the broker names them") {
    World world;
    Client alice(world, kAlice);
    const auto answer = alice.wait(alice.host.listBasesRequest().send());
    REQUIRE(answer.getResult().isValue());
    std::vector<std::string> bases;
    for (const auto base : answer.getResult().getValue().getBases()) {
        bases.push_back(text(base.getName()) + " " + text(base.getProc()) + (base.getUsable() ? "" : " refused"));
    }
    CHECK(bases == std::vector<std::string>{"broken pids refused", "host masked", "minimal pids"});
    CHECK(world.broker.lists_of_bases == 2); // at start, and now
}
