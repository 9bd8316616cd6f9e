// Requests in an order nobody thought of: one upon the other, without waiting for an answer in between.
#include <doctest/doctest.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tests/boundary/attacker/step_maker.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("orders");

namespace {

std::uint64_t send_step(Scene& scene, const protocol::Request& request) {
    std::vector<int> descriptors;
    if (std::holds_alternative<protocol::StartJob>(request)) {
        scene.inputs.emplace_back();
        descriptors = scene.inputs.back().descriptors();
    }
    return scene.attack.send_request(request, descriptors);
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
        std::vector<std::uint64_t> sequences;
        for (std::size_t i = 0, rest = order; i < depth; ++i, rest /= rows) {
            const auto& row = protocol::kRequests.at(rest % rows);
            names.push_back(row.name);
            sequences.push_back(send_step(scene, maker.plain(row.type)));
        }
        for (const auto sequence : sequences) {
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
        std::vector<std::uint64_t> sequences;
        for (const auto& id : running) {
            sequences.push_back(attack.send(scene.bob, kill_of(id)));
            scene.inputs.emplace_back();
            sequences.push_back(attack.send(scene.alice, job_request(), scene.inputs.back().descriptors()));
        }
        for (const auto sequence : sequences) {
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
        scene.inputs.emplace_back();
        const auto before = attack.model().jobs();
        const auto started = attack.send(scene.alice, job_request(), scene.inputs.back().descriptors());
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
        std::vector<std::uint64_t> sequences;
        std::vector<std::string_view> names;
        for (std::uint64_t i = 1 + maker.below(8); i > 0; --i) {
            const auto request = maker.any();
            names.push_back(protocol::row_of(protocol::header_of(request).type).name);
            sequences.push_back(send_step(scene, request));
        }
        for (const auto sequence : sequences) {
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
