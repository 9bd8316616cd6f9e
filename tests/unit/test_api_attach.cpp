// Volumes of running jobs, and what admins may do beside their own, over the RPC interface.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

namespace {

auto attach(Client& client, const std::string& volume, const std::string& job, bool read_only = false) {
    auto request = client.volumes.attachVolumeRequest();
    request.getSelector().setVolume(volume);
    request.setJob(job);
    request.setReadOnly(read_only);
    return client.wait(request.send());
}
auto detach(Client& client, const std::string& volume, const std::string& job) {
    auto request = client.volumes.detachVolumeRequest();
    request.getSelector().setVolume(volume);
    request.setJob(job);
    return client.wait(request.send());
}
auto inspect(Client& client, const std::string& job) {
    auto request = client.jobs.getJobRequest();
    request.getSelector().setJob(job);
    return client.wait(request.send());
}
std::string message_of(rpc::Error::Reader error) {
    return text(error.getMessage());
}

} // namespace

TEST_CASE("a volume is attached to a running job and detached: both are shown in the job and in the volume") {
    World world([](FakeBroker& broker) {
        broker.add_volume(kAlice, "first");
        broker.add_volume(kAlice, "data");
    });
    Client alice(world, kAlice);
    const auto first = *parse_id<VolumeId>(text(alice.get("first").getResult().getValue().getId()));
    const auto job = to_string(world.add_job(kAlice, {first}));

    REQUIRE(attach(alice, "data", job.substr(0, 8), true).getResult().isValue());
    const auto asked = world.broker.asked<protocol::AttachVolume>();
    REQUIRE(asked.size() == 1);
    CHECK(to_string(asked[0].job) == job);
    CHECK(asked[0].access == protocol::Access::ReadOnly);
    const auto volume = alice.get("data");
    CHECK(to_string(asked[0].id) == text(volume.getResult().getValue().getId()));
    CHECK(volume.getResult().getValue().getStatus() == rpc::VolumeStatus::IN_USE);
    CHECK(text(volume.getResult().getValue().getCurrentJob()) == job);
    {
        const auto shown = inspect(alice, job);
        const auto volumes = shown.getResult().getValue().getVolumes();
        REQUIRE(volumes.size() == 2);
        CHECK(text(volumes[1].getName()) == "data");
        CHECK(text(volumes[1].getTarget()).empty());
        CHECK(volumes[1].getReadOnly());
    }

    const auto again = attach(alice, "data", job);
    CHECK(again.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
    CHECK(message_of(again.getResult().getError()) ==
          "cannot attach volume \"data\": the job has it already, or another volume of that name");
    const auto second = to_string(world.add_job(kAlice, {}));
    const auto in_use = attach(alice, "data", second);
    CHECK(in_use.getResult().getError().getCode() == rpc::ErrorCode::IN_USE);
    CHECK(field(in_use.getResult().getError(), "job") == job);

    REQUIRE(detach(alice, "data", job).getResult().isValue());
    CHECK(world.broker.asked<protocol::DetachVolume>().back().id == asked[0].id);
    CHECK(to_string(world.broker.asked<protocol::DetachVolume>().back().job) == job);
    CHECK(inspect(alice, job).getResult().getValue().getVolumes().size() == 1);
    CHECK(alice.get("data").getResult().getValue().getStatus() == rpc::VolumeStatus::AVAILABLE);
    const auto not_attached = detach(alice, "data", job);
    CHECK(not_attached.getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(message_of(not_attached.getResult().getError()) == fmt::format("volume \"data\" is not attached to job {}", job));

    world.broker.end_job(*parse_id<JobId>(job), 0);
    CHECK(world.eventually([&]() { return inspect(alice, job).getResult().getValue().getState() == rpc::JobState::ENDED; }));
    CHECK(message_of(attach(alice, "data", job).getResult().getError()) == fmt::format("job {} has ended", job));
    CHECK(inspect(alice, job).getResult().getValue().getVolumes().size() == 1); // what it had at its end
}

TEST_CASE("whoever attaches is told which of the two is not there, and who else has the volume") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    const auto job = world.add_job(kAlice, {});
    const auto foreign = to_string(world.add_job(kBob, {}));
    CHECK(message_of(attach(alice, "nosuch", to_string(job)).getResult().getError()) == "there is no volume \"nosuch\"");
    CHECK(message_of(attach(alice, "data", "nosuch").getResult().getError()) == "there is no job \"nosuch\"");
    CHECK(message_of(attach(alice, "data", foreign).getResult().getError()) == fmt::format("there is no job \"{}\"", foreign));
    CHECK(world.broker.asked<protocol::AttachVolume>().empty());

    protocol::Reply reply;
    reply.code = ErrorCode::NotFound;
    reply.job = job;
    world.broker.refuse_next(reply);
    CHECK(message_of(attach(alice, "data", to_string(job)).getResult().getError()) ==
          fmt::format("there is no job \"{}\"", to_string(job)));
    reply.job = {};
    world.broker.refuse_next(reply);
    CHECK(message_of(attach(alice, "data", to_string(job)).getResult().getError()) == "there is no volume \"data\"");
    reply.code = ErrorCode::LimitExceeded;
    reply.which = static_cast<std::uint32_t>(protocol::LimitKind::VolumesPerJob);
    reply.limit = 16;
    reply.used = 16;
    reply.asked = 1;
    world.broker.refuse_next(reply);
    const auto full = attach(alice, "data", to_string(job));
    CHECK(field(full.getResult().getError(), "limit_name") == "volumes_per_job");
    CHECK(message_of(full.getResult().getError()) ==
          "cannot attach volume \"data\": volumes per job is limited to 16; 16 used, 1 asked for");
}

TEST_CASE("even an admin renames, labels, restores, attaches and detaches only what is his own") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client admin(world, 0, true);
    const auto check = [&admin](auto request, std::string_view doing) {
        request.getSelector().setVolume("data");
        request.getSelector().initScope().setUser(kAlice);
        const auto answer = admin.wait(request.send());
        CHECK(answer.getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);
        CHECK(message_of(answer.getResult().getError()) ==
              fmt::format("even root and the admins of this host {} only volumes of their own", doing));
    };
    check(admin.volumes.renameVolumeRequest(), "rename");
    check(admin.volumes.labelVolumeRequest(), "label");
    check(admin.volumes.restoreVolumeRequest(), "restore");
    check(admin.volumes.attachVolumeRequest(), "attach");
    check(admin.volumes.detachVolumeRequest(), "detach");
}

TEST_CASE("what an admin reads of others is on record before he sees it") {
    protocol::VolumeEntry data;
    World world([&data](FakeBroker& broker) { data = broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    Client admin(world, 0, true);
    const auto list = [](Client& client, const std::function<void(rpc::Scope::Builder)>& scope) {
        auto request = client.volumes.listVolumesRequest();
        scope(request.initScope());
        return client.wait(request.send());
    };
    const auto everybody = [](rpc::Scope::Builder scope) { scope.setEverybody(); };
    const auto of_alice = [](rpc::Scope::Builder scope) { scope.setUser(kAlice); };

    SUBCASE("each use, and nothing of what is his own") {
        CHECK(list(admin, [](rpc::Scope::Builder scope) { scope.setOwn(); }).getResult().isValue());
        CHECK(list(admin, [](rpc::Scope::Builder scope) { scope.setUser(0); }).getResult().isValue());
        CHECK(list(alice, everybody).getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);
        CHECK(world.broker.asked<protocol::AdminRead>().empty());

        CHECK(list(admin, everybody).getResult().getValue().getMatching() == 1);
        CHECK(list(admin, of_alice).getResult().getValue().getMatching() == 1);
        CHECK(admin.get("data", true).getResult().isValue());
        CHECK(admin.get("nosuch", true).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
        const auto asked = world.broker.asked<protocol::AdminRead>();
        REQUIRE(asked.size() == 4);
        CHECK(asked[0].everybody == 1);
        CHECK(asked[0].id.is_none());
        CHECK(asked[1].uid == kAlice);
        CHECK(asked[1].everybody == 0);
        CHECK(asked[2].id == data.id);
        CHECK(asked[2].everybody == 0);
        CHECK(asked[3].everybody == 1);
    }
    SUBCASE("no record, no answer") {
        protocol::Reply reply;
        for (const auto code : {ErrorCode::PermissionDenied, ErrorCode::Unavailable, ErrorCode::Internal}) {
            reply.code = code;
            world.broker.refuse_next(reply);
            CHECK(static_cast<std::uint32_t>(list(admin, of_alice).getResult().getError().getCode()) == static_cast<std::uint32_t>(code));
            world.broker.refuse_next(reply);
            CHECK(static_cast<std::uint32_t>(admin.get("data", true).getResult().getError().getCode()) == static_cast<std::uint32_t>(code));
        }
    }
}
