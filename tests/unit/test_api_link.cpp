// The broker's end of the boundary: each offence has its word for the audit log, and ends the process that committed it; an API that
// hangs up is ended as well, unless it is dead and another one has come.
#include <doctest/doctest.h>

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "broker-root/broker/api_link.h"
#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/supervisor.h"
#include "shared/datagram.h"

using namespace joblet;
using namespace joblet::broker;

namespace {

// A link between a jobletd and an API that are the test.
struct World {
    World() {
        auto [brokers, jobletds] = make_seqpacket_pair();
        jobletd = std::move(jobletds);
        supervisor.emplace(loop, std::move(brokers), [](Role, std::uint32_t, Fd) {});
        auto [to_closer, at_closer] = make_seqpacket_pair();
        closes = std::move(at_closer);
        closer.emplace(loop, std::move(to_closer), [] {});
        link.emplace(loop, *supervisor, *closer,
                     ApiLink::Callbacks{[this](const protocol::Request&) { ++requests; },
                                        [this](Parting parting) {
                                            partings.emplace_back(parting_word(parting));
                                            when_parted();
                                        },
                                        [] {}});
        REQUIRE(replacements() == 1); // the first API
        adopt();
    }
    void adopt() {
        auto [brokers, apis] = make_seqpacket_pair();
        api = std::move(apis);
        link->adopt(std::move(brokers));
    }
    // What jobletd was told since it was last asked: to start another API.
    std::size_t replacements() const {
        std::size_t count = 0;
        std::array<std::byte, sizeof(SupervisionMessage)> buffer{};
        while (const auto received = receive_datagram(jobletd.get(), buffer, Wait::No)) {
            SupervisionMessage message;
            std::memcpy(&message, buffer.data(), sizeof message);
            count += message.type == SupervisionType::Replace && message.role == Role::Api ? 1 : 0;
        }
        return count;
    }
    void send(std::span<const std::byte> bytes, std::span<const int> descriptors = {}) const {
        REQUIRE(send_datagram(api.get(), bytes, descriptors, Wait::No));
    }

    EventLoop loop;
    Fd jobletd;
    Fd api;
    Fd closes; // what the closer is given
    std::optional<Closer> closer;
    std::optional<Supervisor> supervisor;
    std::optional<ApiLink> link;
    std::vector<std::string> partings;
    std::function<void()> when_parted = [this] { loop.stop(); };
    int requests = 0;
};

protocol::ListBases good_request(std::uint64_t sequence = 1) {
    protocol::ListBases request;
    request.header = {protocol::kVersion, protocol::RequestType::ListBases, sequence, 0};
    return request;
}

template <class R> std::vector<std::byte> bytes_of(const R& request) {
    const auto bytes = std::as_bytes(std::span(&request, 1));
    return {bytes.begin(), bytes.end()};
}

} // namespace

TEST_CASE("each offence ends the API at once, and has its word") {
    auto version = good_request();
    version.header.version = protocol::kVersion + 1;
    auto type = good_request();
    type.header.type = static_cast<protocol::RequestType>(1000);
    auto field = good_request();
    field.header.connection = 1;
    auto longer = bytes_of(good_request());
    longer.push_back({});
    struct Offence {
        const char* word;
        std::vector<std::byte> bytes;
    };
    for (const auto& [word, bytes] : {Offence{"size", longer}, Offence{"version", bytes_of(version)}, Offence{"type", bytes_of(type)},
                                      Offence{"field", bytes_of(field)}, Offence{"sequence", bytes_of(good_request(2))},
                                      Offence{"truncated", std::vector<std::byte>(protocol::kRequestSizeMax + 1)}}) {
        World world;
        world.send(bytes);
        world.loop.run();
        CHECK(world.partings == std::vector<std::string>{word});
        CHECK(world.replacements() == 1);
        CHECK(world.requests == 0);
    }
    World with_descriptor;
    with_descriptor.send(bytes_of(good_request()), std::array{0});
    with_descriptor.loop.run();
    CHECK(with_descriptor.partings == std::vector<std::string>{"descriptors"});
}

TEST_CASE("an API that has much to say does not keep the loop from others: no more than 64 requests, then their turn") {
    World world;
    constexpr int kMany = 100;
    for (int i = 1; i <= kMany; ++i) {
        world.send(bytes_of(good_request(static_cast<std::uint64_t>(i))));
    }
    int before_others = -1;
    world.loop.after(std::chrono::milliseconds(0), [&] {
        before_others = world.requests;
        world.loop.after(std::chrono::milliseconds(100), [&] { world.loop.stop(); });
    });
    world.loop.run();
    CHECK(before_others <= 64);
    CHECK(world.requests == kMany); // nothing is lost
}

TEST_CASE("an API that hangs up and lives on is ended after a while; nothing is ended when another one has come") {
    const std::byte nothing{};
    for (const bool another_came : {false, true}) {
        World world;
        EventLoop& loop = world.loop;
        world.when_parted = [&] {
            CHECK(world.replacements() == 0);
            loop.after(std::chrono::seconds(4), [&loop] { loop.stop(); });
            if (another_came) {
                loop.after(std::chrono::milliseconds(1), [&world] { world.adopt(); });
            }
        };
        if (another_came) {
            REQUIRE(::shutdown(world.api.get(), SHUT_WR) == 0);
        } else {
            world.send(std::span(&nothing, 0)); // looks like a hang-up
        }
        loop.run();
        CHECK(world.partings == std::vector<std::string>{"closed"});
        CHECK(world.replacements() == (another_came ? 0 : 1));
    }
}
