// How an API behaves that means harm: floods, silence, half a farewell, death in the middle of a step.
#include <doctest/doctest.h>

#include <sys/socket.h>

#include <fmt/format.h>

#include "tests/boundary/attacker/step_maker.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("behaviour");

namespace {

// As many as the socket takes now, numbered on. How many that were.
template <class R> std::size_t flood(ApiEnd& end, R request, std::size_t most) {
    request.header.version = protocol::kVersion;
    request.header.type = R::kType;
    std::size_t sent = 0;
    for (; sent < most; ++sent) {
        request.header.sequence = end.next_sequence();
        if (!send_message(end.socket(), request, {}, Wait::No)) {
            end.take_back_sequence();
            break;
        }
    }
    return sent;
}

} // namespace

TEST_CASE("an empty datagram, and every half of a farewell, is the end of the API, and another one comes") {
    Attack attack;
    Scene scene(attack);
    const std::byte nothing{};
    REQUIRE(attack.end().send(std::span(&nothing, 0)));
    attack.must_be_ended("an empty datagram", "closed");
    scene.restore();
    attack.check("an empty datagram");

    REQUIRE(::shutdown(attack.end().socket(), SHUT_WR) == 0);
    attack.must_be_ended("no more to say", "closed");
    scene.restore();
    attack.check("no more to say");

    REQUIRE(::shutdown(attack.end().socket(), SHUT_RD) == 0);
    // Seen when there is something to tell it
    protocol::ListVolumes list;
    list.header.version = protocol::kVersion;
    list.header.type = list.kType;
    list.header.sequence = attack.end().next_sequence();
    REQUIRE(send_message(attack.end().socket(), list, {}, Wait::No));
    attack.must_be_ended("not listening any more", "closed");
    scene.restore();
    attack.check("not listening any more");

    attack.end().close_socket();
    attack.must_be_ended("a closed socket", "closed");
    scene.restore();
    attack.check("a closed socket");
    scene.check_victim();
}

TEST_CASE("a datagram that is too long ends the API, however long it is") {
    Attack attack;
    for (const std::size_t size : {protocol::kRequestSizeMax + 1, protocol::kRequestSizeMax * 2, std::size_t{100'000}}) {
        const std::vector<std::byte> bytes(size);
        REQUIRE(attack.end().send(bytes));
        attack.must_be_ended(fmt::format("{} bytes", size), "truncated");
        attack.check(fmt::format("{} bytes", size));
    }
    const std::vector<std::byte> bytes(protocol::kRequestSizeMax);
    REQUIRE(attack.end().send(bytes));
    attack.must_be_ended("as much as may be", "version");
}

TEST_CASE("an API that asks and never reads is dropped, and costs the broker no more than its window") {
    Attack attack;
    Scene scene(attack);
    const auto ended = [&] {
        (void)flood(attack.end(), protocol::ListJobs{}, 1000);
        return attack.end().is_ended(milliseconds(0));
    };
    CHECK(becomes_true(ended, seconds(60)));
    attack.must_be_ended("never reading", "unread");
    scene.restore();
    attack.check("never reading");
    scene.check_victim();
}

TEST_CASE("while an API floods the broker everybody else is served: a client, a job that ends, the audit log's signature") {
    Attack attack;
    Scene scene(attack);
    const auto started = attack.reply_to(scene.alice, scene.provided(scene.alice, job_request(), {"sleep", "1"}));
    REQUIRE(started.code == ErrorCode::Ok);
    const auto signatures = [&] {
        const auto text = read_file(attack.here().root() + "/var/log/joblet/audit.jsonl");
        std::size_t count = 0;
        for (std::size_t at = 0; (at = text.find("\"event\":\"checkpoint\"", at)) != std::string::npos; ++at) {
            ++count;
        }
        return count;
    };
    const auto before = signatures();
    bool job_ended = false;
    std::size_t answers = 0;
    std::size_t sent = 0;
    protocol::CloseConnection request; // which is answered at once
    request.header.connection = scene.forged;
    // Never more than the broker's windows hold, and never less than it can work on
    constexpr std::size_t kUnderWay = 500;
    const auto others_served = [&] {
        for (std::uint32_t i = 0; i < 200; ++i) {
            sent += flood(attack.end(), request, kUnderWay - (sent - answers));
            while (const auto incoming = attack.end().receive(milliseconds(0))) {
                const auto* const changed = std::get_if<protocol::JobChanged>(&incoming->message);
                job_ended =
                    job_ended || (changed != nullptr && changed->job.id == started.job && changed->job.state == protocol::JobState::Ended);
                answers += std::holds_alternative<protocol::Reply>(incoming->message) ? 1 : 0;
            }
        }
        return job_ended && signatures() > before;
    };
    CHECK(becomes_true(others_served, seconds(20)));
    CHECK(answers > 1000);
    attack.die();
    scene.restore();
    attack.check("a flood");
    scene.check_victim();
}

TEST_CASE("while what is to be closed has to wait, an API is given channels to a bound and no further") {
    Attack attack;
    Scene scene(attack);
    const pid_t closer = attack.here().closer();
    REQUIRE(::kill(closer, SIGSTOP) == 0);
    protocol::CreateChannel request;
    request.header = {protocol::kVersion, protocol::RequestType::CreateChannel, 0, scene.alice};
    bool is_refused = false;
    for (int i = 0; i < 5000 && !is_refused; ++i) {
        request.replaces = request.header.sequence; // each instead of the one before
        request.header.sequence = attack.end().next_sequence();
        REQUIRE(attack.end().send(std::as_bytes(std::span(&request, 1))));
        for (std::uint64_t answered = 0; answered != request.header.sequence;) {
            const auto incoming = attack.end().receive(seconds(20));
            REQUIRE(incoming);
            const auto reply = Attack::plain(*incoming);
            answered = reply.sequence;
            is_refused = reply.code == ErrorCode::Unavailable;
            CHECK((is_refused || reply.code == ErrorCode::Ok));
        }
    }
    CHECK(is_refused);
    REQUIRE(::kill(closer, SIGCONT) == 0);
    attack.die();
    scene.restore();
    attack.check("more channels than can be closed");
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("death in the middle of a step: what was begun is done or undone, and nothing is left between") {
    Attack attack;
    Scene scene(attack);
    StepMaker maker(scene, test_seed());
    for (std::size_t round = 0; round < steps_of(1, 40); ++round) {
        for (const auto& row : protocol::kRequests) {
            scene.restore();
            // A moment to get into the middle of it
            auto request = maker.plain(row.type);
            scene.provide(request);
            (void)attack.send_request(request);
            std::this_thread::sleep_for(std::chrono::microseconds(maker.below(3000)));
            attack.die();
            scene.restore();
            attack.check(fmt::format("death after {}", row.name));
            scene.end_other_jobs();
        }
        // What takes longest: a file system is being made, copied, deleted
        protocol::ResizeVolume resize;
        resize.id = scene.disk;
        resize.size_bytes = protocol::kVolumeSizeMin * 3;
        std::vector<protocol::Request> slow = {volume_request("slow", VolumeType::Filesystem), resize,
                                               removal_of(scene.disk, protocol::kDeleteNow | protocol::kDeleteWait)};
        for (auto& request : slow) {
            scene.restore();
            std::visit([&scene](auto& r) { r.header.connection = scene.alice; }, request);
            (void)attack.send_request(request);
            std::this_thread::sleep_for(milliseconds(maker.below(100)));
            attack.die();
            scene.restore();
            attack.check("death in the middle of something slow");
        }
        scene.tidy();
        scene.check_victim();
    }
}

TEST_CASE("many requests under way, and then death") {
    Attack attack;
    Scene scene(attack);
    protocol::ProtectVolume request; // each waits for the one before
    request.id = scene.memory;
    for (std::uint32_t i = 0; i < 200; ++i) {
        request.is_protected = i % 2;
        (void)attack.send(scene.alice, request);
    }
    attack.die();
    scene.restore();
    attack.check("death with many requests under way");
    scene.check_victim();
}

TEST_SUITE_END();

} // namespace joblet::testing
