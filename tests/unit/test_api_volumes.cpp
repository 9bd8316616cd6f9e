// Volumes over the RPC interface: made, found, listed, refused.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

TEST_CASE("what the broker had before is there, with its labels, before anybody is served") {
    World world([](FakeBroker& broker) {
        for (int i = 0; i < 40; ++i) {
            broker.add_volume(kAlice, fmt::format("v{}", i), i % 2 == 0 ? std::string_view("env\0prod\0", 9) : std::string_view());
        }
    });
    Client alice(world, kAlice);
    auto request = alice.volumes.listVolumesRequest();
    auto labels = request.initFilter().initLabels(1);
    labels[0].setKey("env");
    labels[0].setValue("prod");
    const auto answer = alice.wait(request.send());
    REQUIRE(answer.getResult().isValue());
    CHECK(answer.getResult().getValue().getMatching() == 20);
    CHECK(world.broker.stats == 0); // the pages have the labels
    CHECK(text(answer.getResult().getValue().getVolumes()[0].getLabels()[0].getValue()) == "prod");
}

TEST_CASE("labels of any size are loaded, also where a page has no room for sixteen volumes") {
    constexpr int kVolumes = 40;
    const auto labels_of = [](int i) { // from none to 4096 bytes
        std::string blob;
        for (int k = 0; k < i % 17; ++k) {
            blob += fmt::format("k{:02}", k) + '\0' + std::string(251, static_cast<char>('a' + i % 26)) + '\0';
        }
        return blob.substr(0, blob.size() / 256 * 256);
    };
    World world([&](FakeBroker& broker) {
        for (int i = 0; i < kVolumes; ++i) {
            broker.add_volume(kAlice, fmt::format("v{:02}", i), labels_of(i));
        }
    });
    Client alice(world, kAlice);
    const auto answer = alice.wait(alice.volumes.listVolumesRequest().send());
    const auto volumes = answer.getResult().getValue().getVolumes();
    REQUIRE(volumes.size() == kVolumes);
    for (unsigned i = 0; i < kVolumes; ++i) {
        const auto labels = volumes[i].getLabels();
        REQUIRE(labels.size() == i % 17);
        for (const auto label : labels) {
            CHECK(text(label.getValue()) == std::string(251, static_cast<char>('a' + i % 26)));
        }
    }
    CHECK(world.broker.stats == 0);
}

TEST_CASE("a btrfs volume is asked for and shown; a limit of its inodes is refused before") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "old"); });
    Client alice(world, kAlice);
    auto request = alice.volumes.createVolumeRequest();
    request.setName("data");
    request.setSizeBytes(kMebibyte);
    request.setBackend(rpc::Backend::BTRFS);
    request.setInodes(100);
    const auto refused = alice.wait(request.send());
    CHECK(refused.getResult().getError().getCode() == rpc::ErrorCode::UNSUPPORTED);
    CHECK(text(refused.getResult().getError().getMessage()) == "the btrfs backend cannot limit inodes");
    CHECK(world.broker.asked<protocol::CreateVolume>().empty());
    const auto create = [&alice](rpc::VolumeType type, rpc::Backend backend) {
        auto wanted = alice.volumes.createVolumeRequest();
        wanted.setName("data");
        wanted.setSizeBytes(kMebibyte);
        wanted.setType(type);
        wanted.setBackend(backend);
        return alice.wait(wanted.send());
    };
    const auto made = create(rpc::VolumeType::FILESYSTEM, rpc::Backend::BTRFS);
    REQUIRE(made.getResult().isValue());
    CHECK(made.getResult().getValue().getVolume().getBackend() == rpc::Backend::BTRFS);
    CHECK(world.broker.asked<protocol::CreateVolume>().back().backend == protocol::Backend::Btrfs);
    CHECK(create(rpc::VolumeType::MEMORY, rpc::Backend::BTRFS).getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    auto list = alice.volumes.listVolumesRequest();
    list.initFilter().setBackend(rpc::Backend::BTRFS);
    CHECK(alice.wait(list.send()).getResult().getValue().getMatching() == 1);
}

TEST_CASE("a volume is created, found by its owner only, and deleted") {
    World world;
    Client alice(world, kAlice);
    Client bob(world, kBob);
    Client admin(world, 0, true);

    const auto created = alice.create("data", kMebibyte);
    REQUIRE(created.getResult().isValue());
    CHECK_FALSE(created.getResult().getValue().getExisted());
    const auto id = text(created.getResult().getValue().getVolume().getId());
    CHECK(alice.create("data", kMebibyte).getResult().getValue().getExisted());

    CHECK(text(alice.get("data").getResult().getValue().getId()) == id);
    CHECK(text(alice.get(id.substr(0, 8)).getResult().getValue().getName()) == "data");
    CHECK(bob.get("data").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(bob.get(id).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(bob.get(id, true).getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);
    CHECK(admin.get("data").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(admin.get("data", true).getResult().getValue().getOwner() == kAlice);

    auto by_bob = bob.volumes.deleteVolumeRequest();
    by_bob.getSelector().setVolume(id);
    CHECK(bob.wait(by_bob.send()).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    auto by_admin = admin.volumes.deleteVolumeRequest();
    by_admin.getSelector().setVolume(id);
    by_admin.getSelector().initScope().setUser(kAlice);
    CHECK(admin.wait(by_admin.send()).getResult().isValue());
    CHECK(world.broker.last_authority == static_cast<std::uint32_t>(protocol::Authority::Admin));
    CHECK(alice.get("data").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
}

TEST_CASE("refusals say what is wrong and what is accepted") {
    World world;
    Client alice(world, kAlice);
    REQUIRE(alice.create("data", kMebibyte).getResult().isValue());

    const auto conflict = alice.create("data", 2 * kMebibyte);
    CHECK(conflict.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
    CHECK(field(conflict.getResult().getError(), "difference") == "size_bytes: 1048576 there, 2097152 asked");

    world.broker.next_answer = static_cast<int>(ErrorCode::LimitExceeded);
    const auto limit = alice.create("more", 2 * kMebibyte);
    CHECK(limit.getResult().getError().getCode() == rpc::ErrorCode::LIMIT_EXCEEDED);
    CHECK(field(limit.getResult().getError(), "limit_name") == "limits.total_size");
    CHECK(field(limit.getResult().getError(), "used") == "9437184");
    CHECK(text(limit.getResult().getError().getMessage()) ==
          "cannot create volume \"more\": the total size of a user's volumes is limited to 10.0 MiB; 9.0 MiB used, 2.0 MiB asked for");

    world.broker.next_answer = static_cast<int>(ErrorCode::Internal);
    const auto internal = alice.create("more", 2 * kMebibyte);
    CHECK(text(internal.getResult().getError().getMessage()) ==
          "cannot create volume \"more\": could not make the image file: No space left on device");
    CHECK(field(internal.getResult().getError(), "errno") == "ENOSPC");

    const std::string long_name(64, 'a');
    for (const char* name : {"", "-a", "a/b", "a b", "\xc3\xa4", long_name.c_str()}) {
        const auto answer = alice.create(name, kMebibyte);
        CHECK(answer.getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
        CHECK(text(answer.getResult().getError().getHint()).find("1 to 63 characters") != std::string::npos);
    }
    for (const std::uint64_t size : {std::uint64_t{0}, kMebibyte - 1, (std::uint64_t{1} << 50U) + 1, ~std::uint64_t{0}}) {
        CHECK(alice.create("x", size).getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    }
    auto sparse = alice.volumes.createVolumeRequest();
    sparse.setName("sparse");
    sparse.setSizeBytes(kMebibyte);
    sparse.setSparse(true);
    CHECK(alice.wait(sparse.send()).getResult().getError().getCode() == rpc::ErrorCode::UNIMPLEMENTED);
}
