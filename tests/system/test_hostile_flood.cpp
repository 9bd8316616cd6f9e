// Clients that want too much: connections without end, calls without end, answers that nobody reads.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>

#include <fmt/format.h>

#include "tests/system/hostile_client.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("hostile");

namespace {

constexpr std::size_t kConnections = 64; // of one user at one time: broker.toml, limits.connections
constexpr std::size_t kMib = std::size_t{1} << 20U;

using Clients = std::vector<std::unique_ptr<HostileClient>>;

Clients connect_all(const Installation& here) {
    Clients clients;
    while (clients.size() < kConnections) {
        clients.push_back(std::make_unique<HostileClient>(here));
    }
    return clients;
}

} // namespace

TEST_CASE("of thousands of connections that say nothing one user keeps his number, and the others are as before") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    {
        Clients clients;
        const std::size_t many = is_long() ? 20'000 : 3000;
        // Ended at once, but for few at a time that have some seconds to be told why
        Clients too_many;
        std::size_t refused = 0;
        const auto end_all = [&too_many, &refused] {
            refused += static_cast<std::size_t>(std::ranges::count_if(too_many, [](const auto& client) { return client->is_ended(); }));
            too_many.clear();
        };
        const Bytes begun = opening();
        for (std::size_t i = 0; i < many; ++i) {
            auto client = std::make_unique<HostileClient>(here);
            if (i % 2 == 0) {
                client->send(std::span(begun).first(i % 50)); // a part of a message, or none
            }
            if (i < kConnections) {
                clients.push_back(std::move(client));
            } else {
                too_many.push_back(std::move(client));
            }
            if (i % 500 == 0) {
                CHECK(others_are_served(here));
                end_all();
            }
        }
        end_all();
        CHECK(refused == many - kConnections);
        CHECK(std::ranges::none_of(clients, [](const auto& client) { return client->is_ended(milliseconds(0)); }));
        CHECK(api.descriptors() <= 2 * kConnections + 64);
    }
    api.check_unharmed("connections", 16);
    HostileClient again(here); // his number is free
    again.send(opening());
    CHECK(becomes_true([&again] { return again.take(milliseconds(1)) > 0; }));
}

TEST_CASE("whoever connects as fast as he can keeps nobody from being served") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const auto log_before = here.log().size();
    std::atomic<std::size_t> connected = 0;
    {
        std::vector<std::jthread> attackers;
        attackers.reserve(4);
        for (int i = 0; i < 4; ++i) {
            attackers.emplace_back([&here, &connected](const std::stop_token& stop) {
                Clients kept;
                while (!stop.stop_requested()) {
                    auto client = std::make_unique<HostileClient>(here);
                    if (kept.size() < kConnections) {
                        kept.push_back(std::move(client));
                    }
                    ++connected;
                }
            });
        }
        const std::size_t enough = is_long() ? 2'000'000 : 40'000;
        std::size_t served = 0;
        while (connected < enough) {
            REQUIRE(others_are_served(here));
            ++served;
        }
        CHECK(served > 0);
    }
    api.check_unharmed("connects", 16);
    CHECK(here.log().size() < log_before + kMib); // a log that anybody can fill is a full disk
}

TEST_CASE("messages that are begun and never ended cost their sender's connections and no more") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    {
        const auto clients = connect_all(here);
        Bytes most = message_of([](capnp::rpc::Message::Builder message) {
            message.initUnimplemented().initCall().initParams().getContent().initAs<capnp::Data>(4 * kMib - 1024);
        });
        for (const auto& client : clients) {
            CHECK(client->send(std::span(most).first(most.size() - 1)) == most.size() - 1);
        }
        CHECK(others_are_served(here));
        CHECK(std::ranges::none_of(clients, [](const auto& client) { return client->is_ended(milliseconds(0)); }));
    }
    api.check_unharmed("messages never ended", kConnections * 4 + 32); // what each may send at once, times connections
}

TEST_CASE("who reads no answer is not read any more, and ended after a while") {
    Installation::Options options;
    options.api_toml = "[rpc]\nunread_seconds = 3\n";
    const Installation here(options);
    here.create("hers", "1MiB", "memory", kAlice);
    for (int i = 0; i < 100; ++i) {
        here.create("v" + std::to_string(i), "1MiB", "memory", kMallory);
    }
    const ApiWatch api(here);
    auto clients = connect_all(here);
    std::size_t sent = 0;
    for (const auto& client : clients) {
        client->send(opening());
    }
    for (std::uint32_t question = kFirstFreeQuestion; question < kFirstFreeQuestion + 4000; ++question) {
        const auto bytes = list_volumes(question) + finish(question);
        for (const auto& client : clients) {
            sent += client->send(bytes, milliseconds(0)) > 0 ? 1 : 0;
        }
        if (question % 1000 == 0) {
            CHECK(others_are_served(here));
        }
    }
    CAPTURE(sent);
    // Ended without that anything of it was read
    for (const auto& client : clients) {
        CHECK(becomes_true(
            [&client] {
                const std::byte one{};
                return client->send(std::span(&one, 1), milliseconds(0)) == 0 && errno == EPIPE;
            },
            seconds(30)));
    }
    clients.clear();
    // max_unread_bytes of answers each, and as much again for what the messages have allocated and not filled
    api.check_unharmed("answers that nobody reads", kConnections * 2 * 4 + 64);
}

TEST_CASE("calls without end are answered, refused, or end the connection; nobody else waits for them") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const std::uint32_t many = is_long() ? 1'000'000 : 20'000;
    SUBCASE("each finished and read") {
        HostileClient client(here);
        client.send(opening());
        for (std::uint32_t i = 0; i < many; ++i) {
            const auto question = kFirstFreeQuestion + i % 1000;
            const auto bytes = list_volumes(question) + finish(question);
            REQUIRE(client.send(bytes) == bytes.size());
            client.take(milliseconds(0));
            if (i % 5000 == 0) {
                CHECK(others_are_served(here));
            }
        }
    }
    SUBCASE("never finished") {
        HostileClient client(here);
        client.send(opening());
        for (std::uint32_t i = 0; i < many; ++i) {
            client.send(list_volumes(kFirstFreeQuestion + i), milliseconds(0));
            client.take(milliseconds(0));
        }
        CHECK(client.is_ended());
    }
    SUBCASE("finished before they were asked") {
        HostileClient client(here);
        client.send(opening());
        for (std::uint32_t i = 0; i < 100; ++i) {
            client.send(finish(kFirstFreeQuestion + i), milliseconds(0));
        }
        CHECK(client.is_ended());
    }
    SUBCASE("each on the answer of the one before it") {
        HostileClient client(here);
        client.send(opening());
        for (std::uint32_t i = 0; i < many; ++i) {
            client.send(call(kFirstFreeQuestion + i, i == 0 ? kVolumesQuestion : kFirstFreeQuestion + i - 1,
                             capnp::typeId<rpc::VolumeService>(), kListVolumes, [](capnp::rpc::Payload::Builder) {}),
                        milliseconds(0));
            client.take(milliseconds(0));
        }
        CHECK(client.is_ended());
    }
    SUBCASE("waiting for a descriptor that never comes") {
        auto clients = connect_all(here);
        for (const auto& client : clients) {
            client->send(opening());
            for (std::uint32_t i = 0; i < 200; ++i) {
                client->send(run_with_control(kFirstFreeQuestion + i,
                                              [i](capnp::rpc::CapDescriptor::Builder capability) { capability.setSenderPromise(i); }),
                             milliseconds(100));
            }
            client->take(milliseconds(0));
        }
        CHECK(others_are_served(here));
    }
    api.check_unharmed("calls", 512);
}

TEST_CASE("capabilities by the thousand in one message end the connection") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const auto table = [](std::uint32_t question, bool promises) {
        return call(question, kVolumesQuestion, capnp::typeId<rpc::VolumeService>(), kListVolumes,
                    [question, promises](capnp::rpc::Payload::Builder payload) {
                        constexpr unsigned kCapabilities = 150'000;
                        auto capabilities = payload.initCapTable(kCapabilities);
                        for (unsigned i = 0; i < kCapabilities; ++i) {
                            const auto id = question * kCapabilities + i;
                            if (promises) {
                                capabilities[i].setSenderPromise(id);
                            } else {
                                capabilities[i].setSenderHosted(id);
                            }
                        }
                    });
    };
    for (const bool promises : {false, true}) {
        auto clients = connect_all(here);
        for (const auto& client : clients) {
            client->send(opening() + table(kFirstFreeQuestion, promises));
        }
        CHECK(others_are_served(here));
        for (const auto& client : clients) {
            CHECK(client->is_ended());
        }
    }
    api.check_unharmed("capabilities", 512);
}

TEST_CASE("commands that are long when they are written out are bounded in number and in memory") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    std::size_t most = 0;
    {
        auto clients = connect_all(here);
        Bytes runs = opening();
        for (std::uint32_t i = 0; i < 100; ++i) {
            runs = std::move(runs) + call(kFirstFreeQuestion + i, kJobsQuestion, capnp::typeId<rpc::JobService>(), kRun,
                                          [](capnp::rpc::Payload::Builder payload) {
                                              constexpr unsigned kCommandBytes = 1'900'000;
                                              auto request = payload.getContent().initAs<rpc::JobService::RunParams>().initRequest();
                                              request.initCommand(1).init(0, kCommandBytes);
                                              request.setDetached(true);
                                          });
        }
        std::vector<std::jthread> senders;
        for (const auto& client : clients) {
            senders.emplace_back([&client, &runs] { client->send(runs, seconds(20)); });
        }
        for (int i = 0; i < 20; ++i) {
            CHECK(others_are_served(here));
            most = std::max(most, api.memory_files());
        }
    }
    fmt::print("long commands: at most {} memory files\n", most);
    CHECK(most <= 1024);
    api.check_unharmed("long commands", 1024);
}

TEST_SUITE_END();

} // namespace joblet::testing
