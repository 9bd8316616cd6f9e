// What one client can do to others and to the daemon, and what ends it.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/socket.h>

#include <cstring>

#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <fmt/format.h>

#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

TEST_CASE("a client that sends hostile bytes loses its own connection and no other") {
    World world;
    Client alice(world, kAlice);
    REQUIRE(alice.create("data", kMebibyte).getResult().isValue());
    unsigned seed = 7;
    constexpr int kClients = 200;
    for (int i = 0; i < kClients; ++i) {
        const Fd hostile = world.broker.connect(kBob, false);
        std::array<unsigned char, 512> bytes{};
        for (auto& byte : bytes) {
            seed = seed * 1103515245U + 12345U;
            byte = static_cast<unsigned char>(seed >> 16U);
        }
        if (i % 3 == 0) { // a frame that is well formed, with garbage in it
            const std::array<std::uint32_t, 2> frame = {0, 63};
            std::memcpy(bytes.data(), frame.data(), sizeof frame);
        } else if (i % 3 == 1) { // one that claims to be huge
            const std::array<std::uint32_t, 2> frame = {0, 0xffffffffU};
            std::memcpy(bytes.data(), frame.data(), sizeof frame);
        }
        CHECK(::send(hostile.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0);
        ::shutdown(hostile.get(), SHUT_WR);
        world.turn(1);
    }
    CHECK(world.eventually([&]() { return world.broker.closed_connections == kClients; }));
    CHECK(alice.get("data").getResult().isValue());
}

TEST_CASE("a client that leaves its answers open, or never reads them, is dropped") {
    ApiConfig config;
    config.unread_seconds = 1;
    config.max_unread_bytes = 64 * kKiB;
    config.calls_per_connection = 16;
    World world(
        [](FakeBroker& broker) {
            for (int i = 0; i < 400; ++i) {
                broker.add_volume(kAlice, fmt::format("v{}", i));
            }
        },
        config);
    Client alice(world, kAlice);
    SUBCASE("open answers") {
        kj::Vector<capnp::RemotePromise<rpc::Joblet::VersionResults>> kept;
        for (int i = 0; i < 1000; ++i) {
            kept.add(alice.joblet.versionRequest().send());
        }
        CHECK(world.eventually([&]() { return world.broker.closed_connections == 1; }));
    }
    SUBCASE("never reads") {
        // A recorded conversation is replayed: bootstrap, then the same list over and over, with a Finish each
        Fd mute = world.broker.connect(kAlice, false);
        REQUIRE(::fcntl(mute.get(), F_SETFL, O_NONBLOCK) == 0);
        const auto send = [&mute](const std::function<void(capnp::rpc::Message::Builder)>& make) {
            capnp::MallocMessageBuilder message;
            make(message.initRoot<capnp::rpc::Message>());
            const auto words = capnp::messageToFlatArray(message);
            const auto bytes = words.asBytes();
            return ::send(mute.get(), bytes.begin(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
        };
        REQUIRE(send([](capnp::rpc::Message::Builder message) { message.initBootstrap().setQuestionId(0); }));
        REQUIRE(send([](capnp::rpc::Message::Builder message) {
            auto call = message.initCall();
            call.setQuestionId(1);
            call.initTarget().initPromisedAnswer().setQuestionId(0);
            call.setInterfaceId(capnp::typeId<rpc::Joblet>());
            call.setMethodId(1);
            call.initParams();
        }));
        std::size_t sent = 0;
        const bool dropped = world.eventually([&]() {
            for (unsigned i = 2; i < 8; ++i) {
                sent += static_cast<std::size_t>(send([i](capnp::rpc::Message::Builder message) {
                    auto call = message.initCall();
                    call.setQuestionId(i);
                    auto target = call.initTarget().initPromisedAnswer();
                    target.setQuestionId(1);
                    target.initTransform(1)[0].setGetPointerField(0);
                    call.setInterfaceId(capnp::typeId<rpc::VolumeService>());
                    call.setMethodId(1);
                    auto page = call.initParams().getContent().initAs<rpc::VolumeService::ListVolumesParams>().initPage();
                    page.setSize(1000);
                }));
                sent +=
                    static_cast<std::size_t>(send([i](capnp::rpc::Message::Builder message) { message.initFinish().setQuestionId(i); }));
            }
            return world.broker.closed_connections == 1;
        });
        CHECK(dropped);
        CHECK(sent < 5000); // and was not read long before
    }
    Client again(world, kAlice);
    CHECK(again.get("v1").getResult().isValue());
}

TEST_CASE("calls and waits of one connection are bounded") {
    ApiConfig config;
    config.waits_per_connection = 2;
    World world({}, config);
    Client alice(world, kAlice);
    const auto opened = alice.wait(alice.jobs.openControlRequest().send());
    auto request = alice.jobs.runRequest();
    request.initRequest().initCommand(1).set(0, "true");
    request.getRequest().setControl(opened.getResult().getValue().getControl());
    const auto started = alice.wait(request.send());
    REQUIRE(started.getResult().isValue());
    const auto wait = [&]() {
        auto one = alice.jobs.waitRequest();
        one.getSelector().setJob(started.getResult().getValue().getJob().getId());
        return one.send();
    };
    {
        auto first = wait();
        auto second = wait();
        const auto third = alice.wait(wait());
        CHECK(third.getResult().getError().getCode() == rpc::ErrorCode::LIMIT_EXCEEDED);
    }
    world.turn(50); // both were given up: there is room again
    auto fourth = wait();
    world.broker.end_job(*parse_id<JobId>(text(started.getResult().getValue().getJob().getId())), 0);
    CHECK(alice.wait(kj::mv(fourth)).getResult().isValue());
}

TEST_CASE("a hundred clients at once, each in a name space of his own") {
    World world;
    std::vector<std::unique_ptr<Client>> clients;
    kj::Vector<kj::Promise<bool>> created;
    for (std::uint32_t i = 0; i < 100; ++i) {
        clients.push_back(std::make_unique<Client>(world, 2000 + i));
        for (int k = 0; k < 10; ++k) {
            auto request = clients.back()->volumes.createVolumeRequest();
            request.setName(fmt::format("v{}", k));
            request.setSizeBytes(kMebibyte);
            created.add(request.send().then([](auto&& answer) { return answer.getResult().isValue(); }));
        }
    }
    const auto done = clients.front()->wait(kj::joinPromises(created.releaseAsArray()));
    CHECK(std::ranges::all_of(done, [](bool ok) { return ok; }));
    clients.clear();
    CHECK(world.eventually([&]() { return world.broker.closed_connections == 100; }));
}

TEST_CASE("the daemon ends when the broker goes, and at once when it makes no sense") {
    World world;
    Client alice(world, kAlice);
    REQUIRE(alice.create("data", kMebibyte).getResult().isValue());
    SUBCASE("gone") {
        world.broker.hang_up();
        CHECK_NOTHROW(alice.wait(kj::mv(world.running)));
    }
    SUBCASE("garbage") {
        world.broker.send_garbage();
        CHECK_THROWS_AS(alice.wait(kj::mv(world.running)), kj::Exception);
    }
    world.running = nullptr;
}
