// Descriptors that nobody asked for.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "shared/close_timer.h"
#include "tests/system/hostile_client.h"
#include "tests/system/raw_socket.h"

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

TEST_CASE("nobody waits for what a client attaches, and that takes an hour to close") {
    REQUIRE(CloseTimer::prepare());
    Installation::Options options;
    options.broker_toml = "[limits]\nconnections = 2\n";
    const Installation here(options);
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const auto calls = opening() + list_volumes(kFirstFreeQuestion);
    std::vector<Fd> receivers; // open as long as this takes
    const auto lingering = [&receivers] {
        auto made = make_lingering();
        receivers.push_back(std::move(made.receiver));
        return std::move(made.sender);
    };
    const auto attach = [&lingering](const HostileClient& client, std::span<const std::byte> bytes) {
        Fd one = lingering();
        CHECK(client.send_with(bytes, std::array{one.get()}));
        let_go(std::move(one)); // from here on the message alone has it
    };
    SUBCASE("with the first bytes") {
        HostileClient client(here);
        attach(client, calls);
        CHECK(client.is_ended());
    }
    SUBCASE("behind others, in the middle of a message") {
        HostileClient client(here);
        client.send(std::span(calls).first(calls.size() - 20));
        attach(client, std::span(calls).last(20));
        CHECK(client.is_ended());
    }
    SUBCASE("behind what ends the connection") {
        HostileClient client(here);
        client.send(std::vector(64, std::byte{0xff}));
        Fd one = lingering();
        (void)client.send_with(calls, std::array{one.get()});
        let_go(std::move(one));
    }
    SUBCASE("and hangs up at once") {
        for (int i = 0; i < 20; ++i) {
            const HostileClient client(here);
            Fd one = lingering();
            (void)client.send_with(calls, std::array{one.get()});
            let_go(std::move(one));
        }
    }
    SUBCASE("as urgent data") {
        for (int i = 0; i < 5; ++i) {
            HostileClient client(here);
            client.send(calls);
            Fd one = lingering();
            CHECK(send_raw(client.socket(), std::array{std::byte{}}, std::array{one.get()}, MSG_OOB | MSG_DONTWAIT));
            let_go(std::move(one));
            client.send(calls);
        }
    }
    SUBCASE("to connections that are one too many") {
        std::vector<std::unique_ptr<HostileClient>> clients;
        for (int i = 0; i < 12; ++i) {
            clients.push_back(std::make_unique<HostileClient>(here));
            Fd one = lingering();
            (void)clients.back()->send_with(calls, std::array{one.get()});
            let_go(std::move(one));
        }
    }
    SUBCASE("as stdin of a job that is refused, or that runs") {
        for (const char* const volume : {"nosuch", ""}) {
            for (int i = 0; i < 3; ++i) {
                Fd one = lingering();
                Words words = {"run"};
                if (*volume != '\0') {
                    words.insert(words.end(), {"-v", volume});
                }
                words.emplace_back("true");
                auto command = here.rnx(words, kMallory);
                command.input_descriptor = one.get();
                const auto outcome = run(command);
                CHECK_MESSAGE(outcome.status == (*volume != '\0' ? 125 : 0), outcome.err);
                let_go(std::move(one));
            }
        }
    }
    CHECK(others_are_served(here));
    api.check_unharmed("what takes an hour to close", 8);
}

namespace {

// What a process has had of the CPU in the kernel, in clock ticks.
long kernel_ticks(pid_t pid) {
    const auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string field;
    constexpr int kStime = 13; // after the name; see proc(5)
    for (int i = 0; i < kStime; ++i) {
        fields >> field;
    }
    return std::stol(field);
}

std::ptrdiff_t descriptors_of(pid_t pid) {
    const std::filesystem::directory_iterator all(fmt::format("/proc/{}/fd", pid));
    return std::distance(begin(all), end(all));
}

Fd big_deleted_file(std::size_t bytes) {
    Fd out(::memfd_create("big", MFD_CLOEXEC));
    REQUIRE(out.valid());
    REQUIRE(::fallocate(out.get(), 0, 0, static_cast<off_t>(bytes)) == 0);
    return out;
}

} // namespace

TEST_CASE("what takes the kernel long to free, and nothing interrupts, is freed by nobody who is needed") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const auto broker = here.daemons("joblet-broker").at(0);
    const auto daemon = here.daemons("joblet-api").at(0);
    const auto closer = here.closer();
    const long before = kernel_ticks(closer);
    const long others_before = kernel_ticks(broker) + kernel_ticks(daemon);
    constexpr std::size_t kSize = std::size_t{512} << 20U;
    const auto calls = opening() + list_volumes(kFirstFreeQuestion);
    for (int i = 0; i < 4; ++i) {
        HostileClient client(here);
        {
            const Fd big = big_deleted_file(kSize);
            REQUIRE(client.send_with(calls, std::array{big.get()}));
        }
        CHECK(client.is_ended());
    }
    CHECK(others_are_served(here));
    CHECK(becomes_true([&] { return kernel_ticks(closer) - before >= 4; }));
    CHECK(kernel_ticks(broker) + kernel_ticks(daemon) - others_before < kernel_ticks(closer) - before);
    api.check_unharmed("large files", 8);
}

TEST_CASE("while somebody's file takes for ever to close, others connect, run jobs and hang up") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const auto broker = here.daemons("joblet-broker").at(0);
    const auto closer = here.closer();
    CHECK(here.run_rnx({"run", "true"}, kAlice).status == 0); // its slot is kept for others
    const auto before = descriptors_of(broker);
    REQUIRE(::kill(closer, SIGSTOP) == 0);
    const auto calls = opening() + list_volumes(kFirstFreeQuestion);
    for (int i = 0; i < 500; ++i) { // more than fit into the socket to it
        const HostileClient client(here);
        client.send(calls);
    }
    for (int i = 0; i < 5; ++i) {
        CHECK(here.run_rnx({"run", "true"}, kAlice).status == 0);
    }
    CHECK(others_are_served(here));
    bool has_room = true; // for others, who wait outside when more are to be closed than are kept
    for (int i = 0; i < 4000 && has_room; ++i) {
        try {
            const HostileClient client(here, kMallory, seconds(1));
        } catch (const std::runtime_error&) {
            has_room = false;
        }
    }
    CHECK(!has_room);
    CHECK(descriptors_of(broker) < before + 1200);
    REQUIRE(::kill(closer, SIGCONT) == 0);
    CHECK(others_are_served(here));
    CHECK(becomes_true([&] { return descriptors_of(broker) <= before; }));
    CAPTURE(before);
    CHECK(descriptors_of(broker) <= before);
    api.check_unharmed("a file that takes for ever", 32); // and a thousand clients at a time
    // Without it the broker does not go on: it begins again, with another one
    REQUIRE(::kill(closer, SIGKILL) == 0);
    CHECK(becomes_true([&] {
        const auto now = here.daemons("joblet-broker");
        return now.size() == 1 && now.front() != broker;
    }));
    CHECK(here.wait_ready());
    CHECK(here.run_rnx({"run", "true"}, kAlice).status == 0);
    CHECK(here.closer() != closer);
}

TEST_CASE("clients have a quarter of the broker's descriptors and no more, however many users they are") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const rlimit few{.rlim_cur = 400, .rlim_max = 400};
    REQUIRE(::prlimit(here.jobletd(), RLIMIT_NOFILE, &few, nullptr) == 0);
    here.kill_daemons("joblet-broker"); // the next one inherits it
    const auto broker = here.daemons("joblet-broker").at(0);
    const auto before = descriptors_of(broker);
    std::vector<std::unique_ptr<HostileClient>> clients;
    constexpr uid_t kFirst = 30001;
    for (uid_t uid = kFirst; uid < kFirst + 6; ++uid) {
        for (int i = 0; i < 60; ++i) {
            clients.push_back(std::make_unique<HostileClient>(here, uid));
        }
    }
    CHECK(becomes_true([&] { return descriptors_of(broker) >= before + 100; }));
    const long ticks = kernel_ticks(broker);
    std::this_thread::sleep_for(seconds(1));
    CHECK(descriptors_of(broker) < before + 120);
    CHECK(kernel_ticks(broker) - ticks < ::sysconf(_SC_CLK_TCK) / 4); // those who wait keep nobody busy
    clients.clear();
    CHECK(becomes_true([&] { return others_are_served(here); }));
    CHECK(here.daemons("joblet-broker") == std::vector{broker});
}

TEST_CASE("a broker that can accept nobody tries again, and is not busy with it") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const auto broker = here.daemons("joblet-broker").at(0);
    std::this_thread::sleep_for(seconds(1)); // what it had to do is done
    rlimit before{};
    REQUIRE(::prlimit(broker, RLIMIT_NOFILE, nullptr, &before) == 0);
    const rlimit few{.rlim_cur = 4, .rlim_max = before.rlim_max};
    REQUIRE(::prlimit(broker, RLIMIT_NOFILE, &few, nullptr) == 0);
    const HostileClient waiting(here);
    std::this_thread::sleep_for(milliseconds(100)); // so that it was tried
    const long ticks = kernel_ticks(broker);
    std::this_thread::sleep_for(seconds(1));
    CHECK(kernel_ticks(broker) - ticks < ::sysconf(_SC_CLK_TCK) / 4);
    REQUIRE(::prlimit(broker, RLIMIT_NOFILE, &before, nullptr) == 0);
    CHECK(others_are_served(here));
    CHECK(here.daemons("joblet-broker") == std::vector{broker});
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
