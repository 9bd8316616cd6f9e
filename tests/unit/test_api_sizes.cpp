// How large volumes are, what they hold, and how both change, over the RPC interface.
#include <doctest/doctest.h>

#include <functional>

#include <fmt/format.h>

#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

namespace {

using Create = capnp::Request<rpc::VolumeService::CreateVolumeParams, rpc::VolumeService::CreateVolumeResults>;
using Resize = capnp::Request<rpc::VolumeService::ResizeVolumeParams, rpc::VolumeService::ResizeVolumeResults>;

auto create(Client& client, const std::function<void(Create&)>& ask) {
    auto request = client.volumes.createVolumeRequest();
    request.setName("data");
    request.setSizeBytes(4 * kMebibyte);
    ask(request);
    return client.wait(request.send());
}
auto resize(Client& client, const std::string& volume, const std::function<void(Resize&)>& ask) {
    auto request = client.volumes.resizeVolumeRequest();
    request.getSelector().setVolume(volume);
    ask(request);
    return client.wait(request.send());
}
auto usage_request(Client& client, const std::vector<std::string>& volumes) {
    auto request = client.volumes.getUsageRequest();
    auto list = request.initVolumes(static_cast<unsigned>(volumes.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
        list.set(i, volumes[i]);
    }
    return request;
}
auto usage(Client& client, const std::vector<std::string>& volumes) {
    return client.wait(usage_request(client, volumes).send());
}
template <class Answer> std::vector<std::string> ids_in(const Answer& answer) {
    std::vector<std::string> ids;
    for (const auto one : answer.getResult().getValue().getVolumes()) {
        ids.push_back(text(one.getId()));
    }
    return ids;
}

} // namespace

TEST_CASE("soft limits and limits of I/O are asked for as they are, and are shown") {
    World world;
    Client alice(world, kAlice);
    const auto ask = [](Create& request) {
        request.setInodes(100);
        request.setSoftSizeBytes(4 * kMebibyte - 1);
        request.setSoftInodes(99);
        auto io = request.initIo();
        io.setReadBytes(protocol::kIoBytesMin);
        io.setWriteBytes(protocol::kIoLimitMax);
        io.setReadOperations(2);
        io.setWriteOperations(protocol::kIoLimitMax);
    };
    const auto made = create(alice, ask);
    REQUIRE(made.getResult().isValue());
    const auto asked = world.broker.asked<protocol::CreateVolume>();
    REQUIRE(asked.size() == 1);
    CHECK(asked[0].inodes == 100);
    CHECK(asked[0].soft_size_bytes == 4 * kMebibyte - 1);
    CHECK(asked[0].soft_inodes == 99);
    CHECK(asked[0].io == protocol::IoLimits{protocol::kIoBytesMin, protocol::kIoLimitMax, 2, protocol::kIoLimitMax});
    const auto shown = alice.get("data");
    const auto volume = shown.getResult().getValue();
    CHECK(volume.getBackend() == rpc::Backend::PROJECT_QUOTA);
    CHECK(volume.getSoftSizeBytes() == 4 * kMebibyte - 1);
    CHECK(volume.getSoftInodes() == 99);
    REQUIRE(volume.hasIo());
    CHECK(volume.getIo().getReadBytes() == protocol::kIoBytesMin);
    CHECK(volume.getIo().getWriteBytes() == protocol::kIoLimitMax);
    CHECK(volume.getIo().getReadOperations() == 2);
    CHECK(volume.getIo().getWriteOperations() == protocol::kIoLimitMax);
    CHECK_FALSE(volume.getNoSwap());

    // again: another limit of I/O is no difference, another soft limit is one
    const auto same = create(alice, [&](Create& request) {
        ask(request);
        request.initIo();
    });
    CHECK(same.getResult().getValue().getExisted());
    const auto other = create(alice, [&](Create& request) {
        ask(request);
        request.setSoftSizeBytes(kMebibyte);
        request.setSoftInodes(98);
    });
    const auto error = other.getResult().getError();
    CHECK(error.getCode() == rpc::ErrorCode::CONFLICT);
    std::vector<std::string> differences;
    for (const auto one : error.getFields()) {
        if (text(one.getName()) == "difference") {
            differences.push_back(text(one.getValue()));
        }
    }
    CHECK(differences == std::vector<std::string>{"soft_size_bytes: 4194303 there, 1048576 asked", "soft_inodes: 99 there, 98 asked"});

    const auto memory = create(alice, [](Create& request) {
        request.setName("memory");
        request.setType(rpc::VolumeType::MEMORY);
    });
    CHECK(memory.getResult().getValue().getVolume().getNoSwap());
    CHECK_FALSE(memory.getResult().getValue().getVolume().hasIo());
    CHECK(create(alice,
                 [](Create& request) {
                     request.setName("quota");
                     request.setBackend(rpc::Backend::PROJECT_QUOTA);
                 })
              .getResult()
              .isValue());
    CHECK(world.broker.asked<protocol::CreateVolume>().back().backend == protocol::Backend::ProjectQuota);
    auto list = alice.volumes.listVolumesRequest();
    list.initFilter().setBackend(rpc::Backend::PROJECT_QUOTA);
    CHECK(alice.wait(list.send()).getResult().getValue().getMatching() == 2);

    world.broker.has_quota = false;
    const auto refused = create(alice, [&](Create& request) {
        ask(request);
        request.setName("more");
    });
    CHECK(refused.getResult().getError().getCode() == rpc::ErrorCode::UNSUPPORTED);
    CHECK(text(refused.getResult().getError().getHint()).find("prjquota") != std::string::npos);
}

TEST_CASE("limits that no volume can have are refused before the broker is asked, and name their field") {
    World world;
    Client alice(world, kAlice);
    struct Row {
        const char* field;
        std::function<void(Create&)> ask;
    };
    const std::vector<Row> rows = {
        {"softSizeBytes", [](Create& r) { r.setSoftSizeBytes(4 * kMebibyte); }},
        {"softSizeBytes", [](Create& r) { r.setSoftSizeBytes(protocol::kNoSoftLimit); }},
        {"softInodes",
         [](Create& r) {
             r.setInodes(10);
             r.setSoftInodes(10);
         }},
        {"softInodes", [](Create& r) { r.setSoftInodes(4 * kMebibyte / protocol::kBytesPerInodeMin + 1); }},
        {"softSizeBytes",
         [](Create& r) {
             r.setBackend(rpc::Backend::IMAGE);
             r.setSoftSizeBytes(kMebibyte);
         }},
        {"softInodes",
         [](Create& r) {
             r.setBackend(rpc::Backend::BTRFS);
             r.setSoftInodes(1);
         }},
        {"softSizeBytes",
         [](Create& r) {
             r.setType(rpc::VolumeType::MEMORY);
             r.setSoftSizeBytes(kMebibyte);
         }},
        {"io.readBytes", [](Create& r) { r.initIo().setReadBytes(protocol::kIoBytesMin - 1); }},
        {"io.writeBytes", [](Create& r) { r.initIo().setWriteBytes(1); }},
        {"io.readOperations", [](Create& r) { r.initIo().setReadOperations(protocol::kIoLimitMax + 1); }},
        {"io.writeOperations", [](Create& r) { r.initIo().setWriteOperations(protocol::kIoLimitMax + 1); }},
        {"io",
         [](Create& r) {
             r.setType(rpc::VolumeType::MEMORY);
             r.initIo().setReadOperations(2);
         }},
    };
    for (const auto& row : rows) {
        CAPTURE(row.field);
        const auto answer = create(alice, row.ask);
        REQUIRE(answer.getResult().isError());
        const auto error = answer.getResult().getError();
        CHECK(error.getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
        CHECK(field(error, "field") == row.field);
        CHECK_FALSE(text(error.getMessage()).empty());
    }
    CHECK(world.broker.asked<protocol::CreateVolume>().empty());
}

TEST_CASE("a volume is resized: what is 0 stays, and the answer is the volume as it is now") {
    World world;
    Client alice(world, kAlice);
    const auto made = create(alice, [](Create& request) {
        request.setBackend(rpc::Backend::PROJECT_QUOTA);
        request.setInodes(100);
        request.setSoftSizeBytes(kMebibyte);
        request.setSoftInodes(50);
    });
    const auto id = *parse_id<VolumeId>(text(made.getResult().getValue().getVolume().getId()));
    const auto larger = resize(alice, "data", [](Resize& request) { request.setSizeBytes(8 * kMebibyte); });
    REQUIRE(larger.getResult().isValue());
    CHECK(larger.getResult().getValue().getSizeBytes() == 8 * kMebibyte);
    CHECK(larger.getResult().getValue().getInodes() == 100);
    CHECK(larger.getResult().getValue().getSoftSizeBytes() == kMebibyte);
    auto asked = world.broker.asked<protocol::ResizeVolume>();
    REQUIRE(asked.size() == 1);
    CHECK(asked[0].id == id);
    CHECK(asked[0].size_bytes == 8 * kMebibyte);
    CHECK(asked[0].inodes == 0);
    CHECK(asked[0].soft_size_bytes == 0);
    CHECK(asked[0].soft_inodes == 0);
    const auto soft = resize(alice, "data", [](Resize& request) {
        request.setSoftSizeBytes(protocol::kNoSoftLimit);
        request.setSoftInodes(99);
    });
    CHECK(soft.getResult().getValue().getSoftSizeBytes() == 0);
    CHECK(soft.getResult().getValue().getSoftInodes() == 99);
    CHECK(world.broker.asked<protocol::ResizeVolume>().back().soft_size_bytes == protocol::kNoSoftLimit);

    world.broker.use(id, 3 * kMebibyte, 60);
    const auto small = resize(alice, "data", [](Resize& request) { request.setSizeBytes(2 * kMebibyte); });
    const auto error = small.getResult().getError();
    CHECK(error.getCode() == rpc::ErrorCode::LIMIT_EXCEEDED);
    CHECK(text(error.getMessage()) ==
          "cannot resize volume \"data\": it holds 3.0 MiB already, so it cannot be made smaller than that; 2.0 MiB asked for");
    CHECK(field(error, "used") == std::to_string(3 * kMebibyte));
    CHECK(field(error, "asked") == std::to_string(2 * kMebibyte));
    const auto few = resize(alice, "data", [](Resize& request) {
        request.setInodes(55);
        request.setSoftInodes(protocol::kNoSoftLimit);
    });
    CHECK(text(few.getResult().getError().getMessage()) ==
          "cannot resize volume \"data\": it holds 60 inodes already, so it cannot be made smaller than that; 55 inodes asked for");
    CHECK(alice.get("data").getResult().getValue().getSizeBytes() == 8 * kMebibyte);
}

TEST_CASE("a size that no volume can have, or that its backend does not change, is refused before the broker is asked") {
    World world;
    Client alice(world, kAlice);
    Client admin(world, 0, true);
    REQUIRE(alice.create("image", 4 * kMebibyte).getResult().isValue());
    REQUIRE(create(alice,
                   [](Create& request) {
                       request.setSoftSizeBytes(3 * kMebibyte);
                       request.setInodes(100);
                   })
                .getResult()
                .isValue());
    REQUIRE(create(alice,
                   [](Create& request) {
                       request.setName("btrfs");
                       request.setBackend(rpc::Backend::BTRFS);
                   })
                .getResult()
                .isValue());
    struct Row {
        const char* volume;
        rpc::ErrorCode code;
        const char* field;
        std::function<void(Resize&)> ask;
    };
    constexpr auto kInvalid = rpc::ErrorCode::INVALID_ARGUMENT;
    constexpr auto kUnsupported = rpc::ErrorCode::UNSUPPORTED;
    const std::vector<Row> rows = {
        {"data", kInvalid, "sizeBytes", [](Resize& /*nothing*/) {}},
        {"data", kInvalid, "sizeBytes", [](Resize& r) { r.setSizeBytes(kMebibyte - 1); }},
        {"data", kInvalid, "sizeBytes", [](Resize& r) { r.setSizeBytes(protocol::kVolumeSizeMax + 1); }},
        {"data", kInvalid, "inodes", [](Resize& r) { r.setInodes(4097); }},
        {"data", kInvalid, "softSizeBytes", [](Resize& r) { r.setSizeBytes(3 * kMebibyte); }}, // its soft limit is not below
        {"data", kInvalid, "softSizeBytes", [](Resize& r) { r.setSoftSizeBytes(4 * kMebibyte); }},
        {"data", kInvalid, "softInodes", [](Resize& r) { r.setSoftInodes(100); }},
        {"image", kInvalid, "softSizeBytes", [](Resize& r) { r.setSoftSizeBytes(kMebibyte); }},
        {"image", kUnsupported, "", [](Resize& r) { r.setInodes(100); }},
        {"btrfs", kUnsupported, "", [](Resize& r) { r.setInodes(100); }},
        {"nosuch", rpc::ErrorCode::NOT_FOUND, "", [](Resize& r) { r.setSizeBytes(kMebibyte); }},
    };
    for (const auto& row : rows) {
        CAPTURE(row.volume);
        CAPTURE(row.field);
        const auto answer = resize(alice, row.volume, row.ask);
        REQUIRE(answer.getResult().isError());
        CHECK(answer.getResult().getError().getCode() == row.code);
        CHECK(field(answer.getResult().getError(), "field") == row.field);
    }
    const auto others = resize(admin, "data", [](Resize& request) {
        request.getSelector().initScope().setUser(kAlice);
        request.setSizeBytes(8 * kMebibyte);
    });
    CHECK(others.getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);
    CHECK(world.broker.asked<protocol::ResizeVolume>().empty());
}

TEST_CASE("an image that a job has grows only where the service may do that, and never shrinks") {
    World world;
    Client alice(world, kAlice);
    const auto id = *parse_id<VolumeId>(text(alice.create("data", 4 * kMebibyte).getResult().getValue().getVolume().getId()));
    const auto job = world.add_job(kAlice, {id});
    const auto grown = resize(alice, "data", [](Resize& request) { request.setSizeBytes(8 * kMebibyte); });
    CHECK(grown.getResult().getError().getCode() == rpc::ErrorCode::UNSUPPORTED);
    CHECK(text(grown.getResult().getError().getHint()).find("CAP_SYS_RESOURCE") != std::string::npos);
    CHECK(field(grown.getResult().getError(), "errno") == "EPERM");
    const auto shrunk = resize(alice, "data", [](Resize& request) { request.setSizeBytes(2 * kMebibyte); });
    CHECK(shrunk.getResult().getError().getCode() == rpc::ErrorCode::IN_USE);
    CHECK(field(shrunk.getResult().getError(), "job") == to_string(job));
    world.broker.grows_online = true;
    CHECK(resize(alice, "data", [](Resize& request) { request.setSizeBytes(8 * kMebibyte); }).getResult().isValue());

    auto remove = alice.volumes.deleteVolumeRequest();
    remove.getSelector().setVolume("data");
    remove.setForce(true);
    REQUIRE(alice.wait(remove.send()).getResult().isValue());
    const auto trashed = resize(alice, to_string(id), [](Resize& request) { request.setSizeBytes(16 * kMebibyte); });
    CHECK(trashed.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
}

TEST_CASE("what volumes hold is told as the kernel counts it, in the order in which it was asked for") {
    World world;
    Client alice(world, kAlice);
    Client bob(world, kBob);
    const auto made = create(alice, [](Create& request) {
        request.setInodes(100);
        request.setSoftSizeBytes(kMebibyte);
        request.setSoftInodes(50);
    });
    const auto data = text(made.getResult().getValue().getVolume().getId());
    const auto plain = text(alice.create("plain", kMebibyte).getResult().getValue().getVolume().getId());
    world.broker.use(*parse_id<VolumeId>(data), 2 * kMebibyte, 51);
    const auto answer = usage(alice, {"plain", data.substr(0, 8), "data"});
    REQUIRE(answer.getResult().isValue());
    CHECK(ids_in(answer) == std::vector<std::string>{plain, data, data});
    const auto measured = answer.getResult().getValue().getVolumes()[1];
    CHECK(measured.getUsedBytes() == 2 * kMebibyte);
    CHECK(measured.getSizeBytes() == 4 * kMebibyte + 4096); // as the kernel holds it
    CHECK(measured.getSoftSizeBytes() == kMebibyte);
    CHECK(measured.getUsedInodes() == 51);
    CHECK(measured.getInodes() == 100);
    CHECK(measured.getSoftInodes() == 50);
    CHECK(measured.getGraceEndsNs() == 7000);
    CHECK(measured.getInodesGraceEndsNs() == 7001);
    CHECK(answer.getResult().getValue().getVolumes()[0].getGraceEndsNs() == 0);
    world.broker.use(*parse_id<VolumeId>(data), 1, 1); // and it is asked anew each time
    CHECK(usage(alice, {"data"}).getResult().getValue().getVolumes()[0].getUsedBytes() == 1);

    const auto missing = usage(alice, {"data", "nosuch"});
    CHECK(text(missing.getResult().getError().getMessage()) == "there is no volume \"nosuch\"");
    CHECK(usage(bob, {data}).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(usage(alice, std::vector<std::string>(1001, "data")).getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    protocol::Reply refusal;
    refusal.code = ErrorCode::Internal;
    refusal.step = Step::MeasureVolume;
    refusal.sys_errno = EIO;
    world.broker.refuse_next(refusal);
    const auto failed = usage(alice, {"data", "plain"});
    CHECK(text(failed.getResult().getError().getMessage()) ==
          "cannot measure volume \"data\": could not measure the volume: Input/output error");
}

TEST_CASE("all volumes in scope are those that can be used; an admin's look at others' is put on record") {
    std::vector<std::string> alices;
    std::string bobs;
    World world([&](FakeBroker& broker) {
        for (const auto* name : {"a", "b", "c"}) {
            alices.push_back(to_string(broker.add_volume(kAlice, name).id));
        }
        bobs = to_string(broker.add_volume(kBob, "x").id);
        broker.add_trashed(kAlice, "gone");
        broker.quarantine(broker.add_volume(kAlice, "damaged").id);
    });
    Client alice(world, kAlice);
    Client admin(world, 0, true);
    CHECK(ids_in(usage(alice, {})) == alices);
    CHECK(usage(alice, {"damaged"}).getResult().getError().getCode() == rpc::ErrorCode::QUARANTINED);
    for (const auto& request : world.broker.asked<protocol::MeasureVolume>()) {
        CHECK(request.authority == protocol::Authority::User);
    }
    CHECK(world.broker.asked<protocol::AdminRead>().empty());
    auto by_alice = usage_request(alice, {});
    by_alice.initScope().setEverybody();
    CHECK(alice.wait(by_alice.send()).getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);

    CHECK(ids_in(usage(admin, {})).empty());
    auto everybody = usage_request(admin, {});
    everybody.initScope().setEverybody();
    auto expected = alices;
    expected.push_back(bobs);
    CHECK(ids_in(admin.wait(everybody.send())) == expected);
    CHECK(world.broker.asked<protocol::AdminRead>().size() == 1);
    CHECK(world.broker.asked<protocol::MeasureVolume>().back().authority == protocol::Authority::Admin);
    auto one = usage_request(admin, {"x"});
    one.initScope().setUser(kBob);
    CHECK(ids_in(admin.wait(one.send())) == std::vector<std::string>{bobs});
}

TEST_CASE("few are measured at a time, what goes meanwhile is left out, and too many are not begun") {
    World world([](FakeBroker& broker) {
        for (int i = 0; i < 40; ++i) {
            broker.add_volume(kAlice, fmt::format("v{:02}", i));
        }
        for (std::size_t i = 0; i < VolumeManager::kMeasuredMax + 1; ++i) {
            broker.add_volume(kBob, fmt::format("v{:04}", i));
        }
    });
    Client alice(world, kAlice);
    Client bob(world, kBob);
    world.broker.hold_measurements(true);
    auto waiting = usage_request(alice, {}).send();
    CHECK(world.eventually([&]() { return world.broker.held_measurements() == 8; }));
    world.turn(50);
    CHECK(world.broker.held_measurements() == 8);
    auto remove = bob.volumes.deleteVolumeRequest();
    remove.getSelector().setVolume("v0000");
    remove.setNow(true);
    const auto too_many = usage(bob, {});
    CHECK(too_many.getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    CHECK(text(too_many.getResult().getError().getHint()) == "name some of them");
    for (const auto* name : {"v00", "v39"}) { // one that is being measured, and one whose turn has not come
        auto gone = alice.volumes.deleteVolumeRequest();
        gone.getSelector().setVolume(name);
        gone.setNow(true);
        REQUIRE(alice.wait(gone.send()).getResult().isValue());
    }
    world.broker.hold_measurements(false);
    CHECK(ids_in(alice.wait(kj::mv(waiting))).size() == 38);
    REQUIRE(bob.wait(remove.send()).getResult().isValue());
    CHECK(ids_in(usage(bob, {})).size() == VolumeManager::kMeasuredMax);
}
