// Every kind of descriptor, in every place, in every number.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "shared/close_timer.h"
#include "tests/boundary/attacker/descriptor_kinds.h"
#include "tests/boundary/attacker/step_maker.h"
#include "tests/system/raw_socket.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("descriptors");

namespace {

constexpr std::size_t kScmMaxFd = 253; // of the kernel

} // namespace

TEST_CASE("case_26: a descriptor of any kind, and any number of them, ends the API and is received by nobody") {
    Attack attack;
    Scene scene(attack);
    const auto send = [&](const protocol::RequestRow& row, const std::vector<int>& descriptors, const std::string& what) {
        std::vector<std::byte> bytes(row.size);
        const protocol::RequestHeader header{protocol::kVersion, row.type, attack.end().next_sequence(),
                                             row.asker == protocol::Asker::User ? scene.alice : kNobody};
        std::memcpy(bytes.data(), &header, sizeof header);
        REQUIRE(send_raw(attack.end().socket(), bytes, descriptors));
        attack.must_be_ended(what, "descriptors");
    };
    const auto kinds = descriptor_kinds(attack.canary());
    CHECK(kinds.size() > 50);
    for (const auto& kind : kinds) {
        send(protocol::row_of(protocol::RequestType::ListBases), {kind.fd.get()}, kind.name);
        attack.check(kind.name);
    }
    const Fd file(::open((attack.canary().directory() + "/secret").c_str(), O_RDONLY | O_CLOEXEC));
    for (const auto& row : protocol::kRequests) {
        for (const std::size_t count : {std::size_t{1}, std::size_t{2}, kScmMaxFd}) {
            send(row, std::vector(count, file.get()), fmt::format("{} with {} descriptors", row.name, count));
        }
        attack.check(fmt::format("numbers of descriptors with {}", row.name));
    }
    send(protocol::row_of(protocol::RequestType::ListBases), {attack.end().socket()}, "the API's own socket to the broker");
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("whatever is written where a job's command should be, and however it is kept open: the job alone has it") {
    Attack attack;
    Scene scene(attack);
    const auto start = [&](const std::string& what, const std::function<void(int)>& change) {
        auto incoming = attack.ask(scene.alice, protocol::CreateChannel{});
        const Fd memory = std::move(incoming.descriptors.at(protocol::kSpecMemory));
        // Neither larger nor smaller
        CHECK(::ftruncate(memory.get(), 0) != 0);
        CHECK(::ftruncate(memory.get(), std::int64_t{1} << 30U) != 0);
        change(memory.get());
        auto request = job_request({scene.memory});
        request.channel = Attack::plain(incoming).sequence;
        CHECK(attack.reply_to(scene.alice, request).code == ErrorCode::Ok);
        scene.end_other_jobs();
        attack.check(what);
    };
    start("nothing", [](int) {});
    start("all of it", [](int memory) {
        const std::vector<char> much(kJobSpecMax, 'x');
        CHECK(::pwrite(memory, much.data(), much.size(), 0) == static_cast<ssize_t>(much.size()));
    });
    start("sealed already", [](int memory) { CHECK(seal_spec_memory(memory) == 0); });
    void* mapping = MAP_FAILED;
    start("mapped to be written", [&mapping](int memory) {
        mapping = ::mmap(nullptr, kJobSpecMax, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        CHECK(mapping != MAP_FAILED);
    });
    ::munmap(mapping, kJobSpecMax);
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("nobody waits for what an API attaches, or puts where a job's stdio should be, and that takes an hour to close") {
    REQUIRE(CloseTimer::prepare());
    Attack attack;
    Scene scene(attack);
    std::vector<Fd> receivers; // open as long as this takes
    const auto send = [&receivers](int socket, std::span<const std::byte> bytes) {
        auto made = make_lingering();
        receivers.push_back(std::move(made.receiver));
        const bool is_sent = send_raw(socket, bytes, std::array{made.sender.get()});
        let_go(std::move(made.sender)); // from here on the message alone has it
        return is_sent;
    };
    const std::array<std::byte, sizeof(protocol::ListBases)> some{};
    CHECK(send(attack.end().socket(), some));
    attack.must_be_ended("a socket that lingers, with the next request", "descriptors");
    scene.restore();
    for (int i = 0; i < 3; ++i) {
        (void)send(attack.end().socket(), some); // all but one are not even looked at
    }
    attack.must_be_ended("sockets that linger, behind one that does", "descriptors");
    scene.restore();
    attack.check("sockets that linger");
    const auto open = [&](Connection connection) {
        const auto& input = scene.open_input(connection);
        CHECK(send(input.peer.get(), some));
        return input.channel;
    };
    protocol::CreateChannel instead;
    instead.replaces = open(scene.alice);
    scene.inputs.pop_back();
    CHECK(attack.reply_to(scene.alice, instead).code == ErrorCode::Ok);
    attack.check("a socket that lingers, in a channel that is replaced");
    const Connection leaving = attack.connect(kAlice);
    (void)open(leaving);
    scene.inputs.pop_back();
    attack.hang_up(leaving);
    attack.check("a socket that lingers, in a channel whose connection is gone");
    auto refused = job_request({scene.of_bob});
    refused.channel = open(scene.alice);
    CHECK(attack.reply_to(scene.alice, refused).code == ErrorCode::NotFound);
    auto started = job_request();
    started.channel = open(scene.alice);
    CHECK(attack.reply_to(scene.alice, started).code == ErrorCode::Ok);
    scene.end_other_jobs();
    attack.check("a socket that lingers, in the channel of a job");
    (void)open(scene.alice);
    scene.inputs.clear();
    attack.die();
    scene.restore();
    attack.check("a socket that lingers, in a channel whose API is gone");
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("what a job's stdio is made of is the stage's to judge, and no daemon keeps it") {
    Attack attack;
    Scene scene(attack);
    for (const auto& kind : descriptor_kinds(attack.canary())) {
        const auto request = scene.provided(scene.alice, job_request({scene.memory}, 0), {"true"});
        const std::array stdio = {kind.fd.get(), kind.fd.get(), kind.fd.get()};
        REQUIRE(send_message(scene.inputs.back().peer.get(), ControlHello{kHelloMagic}, stdio, Wait::No));
        const auto reply = attack.reply_to(scene.alice, request);
        CHECK_MESSAGE(reply.code == ErrorCode::Ok, kind.name, ": ", error_code_name(reply.code));
        scene.end_other_jobs();
        attack.check(kind.name + " as stdio");
    }
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("what waits in a control socket is no way to anything: nothing, too much, or the wrong thing") {
    Attack attack;
    Scene scene(attack);
    const Fd secret(::open((attack.canary().directory() + "/secret").c_str(), O_RDONLY | O_CLOEXEC));
    const auto start = [&](const std::string& what, const std::function<void(int)>& fill) {
        const auto request = scene.provided(scene.alice, job_request({scene.memory}, 0), {"true"});
        fill(scene.inputs.back().peer.get());
        (void)attack.ask(scene.alice, request);
        scene.end_other_jobs();
        attack.check(what);
    };
    const std::array one = {secret.get()};
    const std::vector<int> many(kMaxDescriptors, secret.get());
    start("no hello", [](int) {});
    start("a hello without descriptors", [](int peer) { (void)send_message(peer, ControlHello{kHelloMagic}, {}, Wait::No); });
    start("a hello with one", [&](int peer) { (void)send_message(peer, ControlHello{kHelloMagic}, one, Wait::No); });
    start("a hello with many", [&](int peer) { (void)send_message(peer, ControlHello{kHelloMagic}, many, Wait::No); });
    start("another magic", [&](int peer) { (void)send_message(peer, ControlHello{}, one, Wait::No); });
    start("an exit record", [](int peer) { (void)send_message(peer, ExitRecord{kExitMagic, ExitKind::Exited}, {}, Wait::No); });
    start("a flood", [](int peer) {
        while (send_message(peer, ControlHello{kHelloMagic}, {}, Wait::No)) {
        }
    });
    scene.tidy();
    scene.check_victim();
}

TEST_SUITE_END();

} // namespace joblet::testing
