// In whose name: connections that are open, gone, another's or of nobody, and ids that are forged. What is asked for somebody who is
// not there is done for nobody.
#include <doctest/doctest.h>

#include <sys/socket.h>

#include <fmt/format.h>

#include "tests/boundary/attacker/step_maker.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("connections");

namespace {

bool is_for_users(protocol::RequestType type) {
    return protocol::row_of(type).asker != protocol::Asker::Housekeeping;
}

protocol::Reply ask_in_name_of(Scene& scene, Connection connection, protocol::Request request) {
    std::visit([connection](auto& r) { r.header.connection = connection; }, request);
    scene.provide(request);
    return Attack::plain(scene.attack.wait(scene.attack.send_request(request)));
}

// The request about that volume and job instead.
void turn_to(protocol::Request& request, const VolumeId& volume, const JobId& job) {
    std::visit(
        [&](auto& r) {
            using R = std::remove_cvref_t<decltype(r)>;
            if constexpr (std::is_same_v<R, protocol::StartJob>) {
                r.volumes[0].id = volume;
            } else if constexpr (std::is_same_v<R, protocol::AttachVolume> || std::is_same_v<R, protocol::DetachVolume>) {
                r.id = volume;
                r.job = job;
            } else if constexpr (requires { r.id; } && !std::is_same_v<R, protocol::AdminRead>) {
                if constexpr (std::is_same_v<std::remove_cvref_t<decltype(r.id)>, JobId>) {
                    r.id = job;
                } else {
                    r.id = volume;
                }
            }
        },
        request);
}

} // namespace

TEST_CASE("nothing is done in the name of a connection that is gone, was of an earlier API, or never was") {
    Attack attack;
    Scene scene(attack);
    const Connection earlier = scene.alice;
    attack.die();
    scene.restore();
    REQUIRE(earlier != scene.alice);
    const Connection closed = attack.connect(kAlice);
    REQUIRE(attack.reply_to(closed, protocol::CloseConnection{}).code == ErrorCode::Ok);
    const Connection hung_up = attack.connect(kAlice);
    attack.hang_up(hung_up);
    StepMaker maker(scene, test_seed());
    for (const auto& row : protocol::kRequests) {
        if (!is_for_users(row.type)) {
            continue;
        }
        for (const Connection nobody :
             {scene.gone, earlier, closed, hung_up, scene.forged, Connection{1}, ~Connection{0}, scene.alice + 1000}) {
            auto request = maker.plain(row.type);
            CHECK(ask_in_name_of(scene, nobody, request).code == ErrorCode::PermissionDenied);
            turn_to(request, scene.of_victim, scene.job);
            CHECK(ask_in_name_of(scene, nobody, request).code == ErrorCode::PermissionDenied);
        }
        attack.check(fmt::format("{} for nobody", row.name));
    }
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("in one user's name nothing of another's is touched, seen or told of, also not as an admin who is none") {
    Attack attack;
    Scene scene(attack);
    const JobId of_bob = scene.start_job(scene.bob, {scene.of_bob});
    StepMaker maker(scene, test_seed());
    for (const auto& row : protocol::kRequests) {
        if (!is_for_users(row.type)) {
            continue;
        }
        for (const auto& [volume, job] : {std::pair{scene.of_victim, of_bob},
                                          {scene.of_bob, scene.job},
                                          {scene.memory, of_bob},
                                          {scene.of_bob, of_bob},
                                          {make_random_id<VolumeId>(), make_random_id<JobId>()},
                                          {VolumeId{of_bob.bytes}, JobId{scene.of_victim.bytes}}}) {
            for (const auto authority : {Authority::User, Authority::Admin}) {
                auto request = maker.plain(row.type);
                turn_to(request, volume, job);
                std::visit(
                    [authority](auto& r) {
                        if constexpr (requires { r.authority; }) {
                            r.authority = authority;
                        }
                    },
                    request);
                if (row.type == protocol::RequestType::CloseConnection) {
                    continue;
                }
                (void)ask_in_name_of(scene, scene.alice, request); // judged where it comes in
            }
        }
        attack.check(fmt::format("{} of another's", row.name));
        scene.restore();
    }
    // Neither does an admin run a job on what is not his
    for (const Authority authority : {Authority::User, Authority::Admin}) {
        (void)authority;
        CHECK(ask_in_name_of(scene, scene.admin, job_request({scene.of_victim})).code == ErrorCode::NotFound);
        protocol::AttachVolume attach;
        attach.id = scene.of_victim;
        attach.job = scene.start_job(scene.admin, {});
        CHECK(attack.reply_to(scene.admin, attach).code == ErrorCode::NotFound);
        attach.job = scene.job;
        CHECK(attack.reply_to(scene.admin, attach).code == ErrorCode::NotFound);
    }
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("a user who leaves in the middle of his request is served once more and then never again") {
    Attack attack;
    Scene scene(attack);
    StepMaker maker(scene, test_seed());
    for (const auto& row : protocol::kRequests) {
        if (!is_for_users(row.type) || row.type == protocol::RequestType::CloseConnection) {
            continue;
        }
        scene.restore();
        const Connection leaving = attack.connect(kAlice);
        auto request = maker.plain(row.type);
        std::visit([leaving](auto& r) { r.header.connection = leaving; }, request);
        scene.provide(request);
        const auto first = attack.send_request(request);
        (void)attack.wait(first);
        attack.hang_up(leaving);
        CHECK(ask_in_name_of(scene, leaving, maker.plain(protocol::RequestType::ProtectVolume)).code == ErrorCode::PermissionDenied);
        attack.check(fmt::format("{}, and then nobody there", row.name));
        scene.end_other_jobs();
    }
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("what a job is started with is its connection's alone, serves once, and there are so many and no more") {
    Attack attack;
    Scene scene(attack);
    const auto start = [&](Connection connection, std::uint64_t channel) {
        auto request = job_request({}, protocol::kStartDetached);
        request.channel = channel;
        const auto reply = attack.reply_to(connection, request);
        scene.end_other_jobs();
        return reply.code;
    };
    const auto make = [&](std::uint64_t replaces) {
        protocol::CreateChannel request;
        request.replaces = replaces;
        return attack.reply_to(scene.alice, request);
    };
    const auto of_alice = scene.open_input(scene.alice, {"true"}).channel;
    const auto other = scene.open_input(scene.alice, {"true"}).channel;
    CHECK(start(scene.bob, of_alice) == ErrorCode::NotFound);
    CHECK(start(scene.admin, of_alice) == ErrorCode::NotFound);
    CHECK(start(scene.alice, of_alice) == ErrorCode::Ok);
    CHECK(start(scene.alice, of_alice) == ErrorCode::NotFound);
    CHECK(make(other).code == ErrorCode::Ok);
    CHECK(start(scene.alice, other) == ErrorCode::NotFound);
    // Nobody else's are replaced
    protocol::CreateChannel of_bob;
    of_bob.replaces = scene.open_input(scene.alice, {"true"}).channel;
    CHECK(attack.reply_to(scene.bob, of_bob).code == ErrorCode::Ok);
    CHECK(start(scene.alice, of_bob.replaces) == ErrorCode::Ok);
    attack.check("a few channels");
    const Connection fresh = attack.connect(kAlice);
    std::uint64_t last = 0;
    for (std::size_t i = 0; i < protocol::kChannelsMax; ++i) {
        const auto reply = attack.reply_to(fresh, protocol::CreateChannel{});
        CHECK(reply.code == ErrorCode::Ok);
        last = reply.sequence;
    }
    const auto refused = attack.reply_to(fresh, protocol::CreateChannel{});
    CHECK(refused.code == ErrorCode::LimitExceeded);
    CHECK(refused.limit == protocol::kChannelsMax);
    attack.check("as many channels as may be");
    protocol::CreateChannel instead;
    instead.replaces = last;
    CHECK(attack.reply_to(fresh, instead).code == ErrorCode::Ok);
    attack.check("one instead of another");
    attack.hang_up(fresh); // and they go with it
    attack.check("no channels");
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("nothing is done in the name of a connection that is one too many, and those of others are served") {
    Attack attack;
    Scene scene(attack);
    std::vector<Connection> mine;
    constexpr std::size_t kMore = 15; // than the scene's
    mine.reserve(kMore);
    while (mine.size() < kMore) {
        mine.push_back(attack.connect(kAlice));
    }
    attack.check("as many connections as may be");
    const auto refused = attack.connect_refused(kAlice);
    CHECK(refused.refusal == protocol::ConnectionRefusal::TooMany);
    CHECK(refused.allowed == 16);
    StepMaker maker(scene, test_seed());
    for (const auto& row : protocol::kRequests) {
        if (!is_for_users(row.type)) {
            continue;
        }
        CAPTURE(row.name);
        CHECK(ask_in_name_of(scene, refused.number, maker.plain(row.type)).code == ErrorCode::PermissionDenied);
    }
    attack.hang_up(refused.number);
    attack.check("one connection too many");
    (void)attack.connect(kBob);
    attack.hang_up(mine.back());
    CHECK(attack.is_open(attack.connect(kAlice)));
    attack.check("connections");
    scene.check_victim();
}

TEST_SUITE_END();

} // namespace joblet::testing
