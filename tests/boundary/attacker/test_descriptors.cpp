// Every kind of descriptor, in every place, in every number.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <functional>

#include <fmt/format.h>

#include "tests/boundary/attacker/descriptor_kinds.h"
#include "tests/boundary/attacker/step_maker.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("descriptors");

namespace {

constexpr std::size_t kScmMaxFd = 253; // of the kernel

// More descriptors than send_datagram() sends.
bool send_many(int socket, std::span<const std::byte> bytes, const std::vector<int>& descriptors) {
    std::vector<std::byte> control(CMSG_SPACE(descriptors.size() * sizeof(int)));
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()}; // NOLINT(cppcoreguidelines-pro-type-const-cast): only read
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* const entry = CMSG_FIRSTHDR(&header);
    entry->cmsg_level = SOL_SOCKET;
    entry->cmsg_type = SCM_RIGHTS;
    entry->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(entry), descriptors.data(), descriptors.size() * sizeof(int));
    return ::sendmsg(socket, &header, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

template <class R> void fill_header(ApiEnd& end, Connection connection, R& r) {
    r.header.version = protocol::kVersion;
    r.header.type = R::kType;
    r.header.connection = connection;
    r.header.sequence = end.next_sequence();
}

} // namespace

TEST_CASE("a job's control socket and its sealed memory are nothing else; what is of the wrong kind ends the API and stays nowhere") {
    Attack attack;
    Scene scene(attack);
    const auto kinds = descriptor_kinds(attack.canary());
    CHECK(kinds.size() > 50);
    const auto start_with = [&](const std::string& what, int control, int spec, bool is_good) {
        auto request = job_request({scene.memory});
        if (is_good) {
            // What is in it is the stage's to read: the job ends, and nothing else
            (void)attack.ask(scene.alice, request, {control, spec});
            scene.end_other_jobs();
        } else {
            fill_header(attack.end(), scene.alice, request);
            REQUIRE(attack.end().send(std::as_bytes(std::span(&request, 1)), std::array{control, spec}));
            attack.must_be_ended(what, "descriptor_kind");
            scene.restore();
        }
        attack.check(what);
    };
    for (const auto& kind : kinds) {
        const JobInput good;
        start_with(kind.name + " as control socket", kind.fd.get(), good.spec.get(), kind.is_control);
        start_with(kind.name + " as specification", good.control.get(), kind.fd.get(), kind.is_spec);
    }
    const JobInput good;
    start_with("the two in the wrong order", good.spec.get(), good.control.get(), false);
    start_with("the API's own socket to the broker as specification", good.control.get(), attack.end().socket(), false);
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("any number of descriptors but the right one ends the API and stays nowhere") {
    Attack attack;
    const Fd file(::open((attack.canary().directory() + "/secret").c_str(), O_RDONLY | O_CLOEXEC));
    const JobInput input;
    for (const auto& row : protocol::kRequests) {
        for (const std::size_t count :
             {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3}, kMaxDescriptors, kMaxDescriptors + 1, kScmMaxFd}) {
            // Few for each row, all for the one that takes some
            if (count == row.descriptor_count || (row.descriptor_count == 0 && count > 2 && count != kScmMaxFd)) {
                continue;
            }
            std::vector<std::byte> bytes(row.size);
            protocol::RequestHeader header{protocol::kVersion, row.type, attack.end().next_sequence(),
                                           row.asker == protocol::Asker::User ? Connection{1} : kNobody};
            std::memcpy(bytes.data(), &header, sizeof header);
            std::vector<int> descriptors(count, file.get());
            if (count > 0) {
                descriptors.front() = input.control.get();
            }
            const std::string what = fmt::format("{} with {} descriptors", row.name, count);
            REQUIRE((count == 0 ? attack.end().send(bytes) : send_many(attack.end().socket(), bytes, descriptors)));
            attack.must_be_ended(what, count > kMaxDescriptors ? "truncated" : "descriptors");
        }
        attack.check(fmt::format("numbers of descriptors with {}", row.name));
    }
}

TEST_CASE("what a job's stdio is made of is the stage's to judge, and no daemon keeps it") {
    Attack attack;
    Scene scene(attack);
    for (const auto& kind : descriptor_kinds(attack.canary())) {
        JobInput input({"true"});
        const std::array stdio = {kind.fd.get(), kind.fd.get(), kind.fd.get()};
        REQUIRE(send_message(input.peer.get(), ControlHello{kHelloMagic}, stdio, Wait::No));
        const auto reply = attack.reply_to(scene.alice, job_request({scene.memory}, 0), input.descriptors());
        CHECK_MESSAGE(reply.code == ErrorCode::Ok, kind.name, ": ", error_code_name(reply.code));
        scene.inputs.push_back(std::move(input));
        scene.end_other_jobs();
        attack.check(kind.name + " as stdio");
    }
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("what waits in a control socket is no way to anything: nothing, too much, the wrong thing, or the boundary itself") {
    Attack attack;
    Scene scene(attack);
    const Fd secret(::open((attack.canary().directory() + "/secret").c_str(), O_RDONLY | O_CLOEXEC));
    const auto start = [&](const std::string& what, const std::function<void(int)>& fill) {
        JobInput input({"true"});
        fill(input.peer.get());
        (void)attack.ask(scene.alice, job_request({scene.memory}, 0), input.descriptors());
        scene.inputs.push_back(std::move(input));
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
    // The stage reads what the broker tells the API, and the broker what the stage says at the end of the job
    const JobInput input({"true"});
    auto request = job_request({scene.memory}, 0);
    (void)attack.send(scene.alice, request, {attack.end().socket(), input.spec.get()});
    if (attack.end().is_ended(seconds(5))) {
        // For what a stage said there, or for having hung up, as a stage does that finds no hello
        attack.must_be_ended("the boundary as a control socket", std::string(kAnyParting));
    } else {
        attack.die();
    }
    scene.restore();
    scene.end_other_jobs();
    scene.tidy();
    scene.check_victim();
}

TEST_SUITE_END();

} // namespace joblet::testing
