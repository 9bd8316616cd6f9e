// Descriptors that nobody asked for.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "tests/system/hostile_client.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("hostile");

TEST_CASE("descriptors that nobody asked for end the connection, and none of them stays") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    std::array<int, 2> pipe{};
    REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
    const Fd reader(pipe[0]);
    const Fd writer(pipe[1]);
    const Fd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const Fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const std::array<int, 5> kinds = {reader.get(), writer.get(), root.get(), null.get(), listener.get()};
    std::vector<int> many;
    many.reserve(253);
    for (std::size_t i = 0; i < 253; ++i) {
        many.push_back(kinds.at(i % kinds.size()));
    }
    const auto calls = opening() + list_volumes(kFirstFreeQuestion);
    const int rounds = is_long() ? 2000 : 50;
    for (int round = 0; round < rounds; ++round) {
        for (const std::size_t count : {1U, 2U, 3U, 253U}) {
            CAPTURE(count);
            HostileClient first(here); // with the first bytes
            REQUIRE(first.send_with(calls, std::span(many).first(count)));
            CHECK(first.is_ended());
            // In the middle of a message they are dropped by the kernel, because nobody receives them there
            HostileClient later(here);
            later.send(std::span(calls).first(calls.size() - 20));
            REQUIRE(later.send_with(std::span(calls).last(20), std::span(many).first(count)));
            later.finish();
            CHECK(later.is_ended());
        }
    }
    CHECK(others_are_served(here));
    api.check_unharmed("descriptors", 8);
}

TEST_CASE("descriptors with each byte of a message do not pile up") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const std::vector<int> many(253, null.get());
    const auto calls = opening() + list_volumes(kFirstFreeQuestion);
    for (int round = 0; round < 20; ++round) {
        HostileClient client(here);
        for (const auto& byte : calls) {
            if (!client.send_with(std::span(&byte, 1), many)) {
                break;
            }
        }
        CHECK(api.descriptors() < 512);
        CHECK(others_are_served(here));
    }
    api.check_unharmed("descriptors with each byte", 8);
}

TEST_CASE("case_26: an index of a descriptor that did not come is none") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const std::vector<int> many(253, null.get());
    for (const unsigned index : {0U, 1U, 2U, 3U, 200U, 254U, 255U}) {
        for (const std::size_t count : {0U, 1U, 2U, 253U}) {
            CAPTURE(index);
            CAPTURE(count);
            const auto bytes = opening() + run_with_control(kFirstFreeQuestion, [index](capnp::rpc::CapDescriptor::Builder capability) {
                                   capability.setSenderHosted(0);
                                   capability.setAttachedFd(static_cast<std::uint8_t>(index));
                               });
            HostileClient client(here);
            if (count == 0) {
                client.send(bytes);
            } else {
                REQUIRE(client.send_with(bytes, std::span(many).first(count)));
            }
            client.finish();
            CHECK(client.is_ended());
        }
    }
    CHECK(here.json_of({"job", "list"}, kMallory).empty());
    api.check_unharmed("indexes of descriptors", 8);
}

TEST_SUITE_END();

} // namespace joblet::testing
