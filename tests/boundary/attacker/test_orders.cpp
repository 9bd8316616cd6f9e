// Requests in an order nobody thought of: one upon the other, without waiting for an answer in between.
#include <doctest/doctest.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tests/boundary/attacker/step_maker.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("orders");

namespace {

// One right after the other; the numbers to wait for.
std::vector<std::uint64_t> send_steps(Scene& scene, std::vector<protocol::Request> requests) {
    for (auto& request : requests) {
        scene.provide(request);
    }
    std::vector<std::uint64_t> sequences(requests.size());
    std::ranges::transform(requests, sequences.begin(), [&scene](const auto& request) { return scene.attack.send_request(request); });
    return sequences;
}

// All orders of that many requests; each begins with the scene as it should be.
void try_orders(std::size_t depth) {
    Attack attack;
    Scene scene(attack);
    StepMaker maker(scene, test_seed());
    const std::size_t rows = protocol::kRequests.size();
    std::size_t orders = 1;
    for (std::size_t i = 0; i < depth; ++i) {
        orders *= rows;
    }
    for (std::size_t order = 0; order < orders; ++order) {
        scene.restore();
        std::vector<std::string_view> names;
        std::vector<protocol::Request> requests;
        for (std::size_t i = 0, rest = order; i < depth; ++i, rest /= rows) {
            const auto& row = protocol::kRequests.at(rest % rows);
            names.push_back(row.name);
            requests.push_back(maker.plain(row.type));
        }
        for (const auto sequence : send_steps(scene, std::move(requests))) {
            (void)attack.wait(sequence);
        }
        attack.check(fmt::format("{}", fmt::join(names, ", ")));
        scene.end_other_jobs();
        if (order % 20 == 0) {
            scene.tidy();
        }
    }
    scene.tidy();
    scene.check_victim();
}

} // namespace

TEST_CASE("all orders of two requests") {
    try_orders(2);
}

TEST_CASE("all orders of three requests" * doctest::skip(steps_of(0, 1) == 0)) {
    try_orders(3);
}

TEST_CASE("jobs that are killed are in nobody's way who starts one at the same moment") {
    Attack attack;
    Scene scene(attack);
    constexpr int kAtOnce = 4;
    for (std::size_t round = 0; round < steps_of(15, 1000); ++round) {
        std::vector<JobId> running;
        running.reserve(kAtOnce);
        for (int i = 0; i < kAtOnce; ++i) {
            running.push_back(scene.start_job(scene.bob, {}));
        }
        std::vector<protocol::Request> requests;
        for (const auto& id : running) {
            auto kill = kill_of(id);
            kill.header.connection = scene.bob;
            auto start = job_request();
            start.header.connection = scene.alice;
            requests.emplace_back(kill);
            requests.emplace_back(start);
        }
        for (const auto sequence : send_steps(scene, std::move(requests))) {
            CHECK(Attack::plain(attack.wait(sequence)).code == ErrorCode::Ok);
        }
        scene.end_other_jobs();
        if (round % 25 == 24) {
            scene.tidy();
        }
    }
    attack.check("jobs that were killed");
    scene.tidy();
}

TEST_CASE("a job that is killed before its first process is there ends all the same") {
    Attack attack;
    Scene scene(attack);
    std::size_t early = 0;
    for (std::size_t round = 0; round < steps_of(20, 500); ++round) {
        const auto request = scene.provided(scene.alice, job_request());
        const auto before = attack.model().jobs();
        const auto started = attack.send_request(request);
        const auto listed = attack.ask(kNobody, protocol::ListJobs{});
        const auto& page = std::get<protocol::JobPage>(listed.message);
        std::optional<JobId> id;
        for (const auto& entry : std::span(page.jobs).first(page.reply.count)) {
            id = before.contains(entry.id) ? id : entry.id;
        }
        REQUIRE(id);
        early += attack.reply_to(scene.alice, kill_of(*id)).code == ErrorCode::Ok ? 1 : 0;
        CHECK(Attack::plain(attack.wait(started)).code == ErrorCode::Ok);
        CHECK(becomes_true([&] {
            attack.read_on();
            return attack.model().jobs().at(*id).ended;
        }));
        scene.tidy();
    }
    CHECK(early > 0);
}

TEST_CASE("random walks: anything about anything in any name, up to eight at once") {
    Attack attack;
    Scene scene(attack);
    StepMaker maker(scene, test_seed());
    for (std::size_t step = 0; step < steps_of(has_quota_store() ? 40 : 2000, 20000); ++step) {
        scene.restore();
        std::vector<protocol::Request> requests;
        std::vector<std::string_view> names;
        for (std::uint64_t i = 1 + maker.below(8); i > 0; --i) {
            requests.push_back(maker.any());
            names.push_back(protocol::row_of(std::visit([](const auto& r) { return r.kType; }, requests.back())).name);
        }
        for (const auto sequence : send_steps(scene, std::move(requests))) {
            (void)attack.wait(sequence);
        }
        attack.check(fmt::format("step {}: {}", step, fmt::join(names, ", ")));
        if (step % 25 == 24) {
            scene.tidy();
            scene.check_victim();
        }
    }
    scene.tidy();
    scene.check_victim();
}

TEST_SUITE_END();

} // namespace joblet::testing
