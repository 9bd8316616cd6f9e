// Every request with each field at its edges: what has a meaning is answered, everything else ends the API.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include "tests/boundary/attacker/edges.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("edges");

namespace {

void offend(Attack& attack, protocol::Request request) {
    std::visit(
        [&](auto& r) {
            r.header.version = protocol::kVersion;
            r.header.type = r.kType;
            r.header.sequence = attack.end().next_sequence();
            REQUIRE(attack.end().send(std::as_bytes(std::span(&r, 1))));
        },
        request);
}

void try_all(std::vector<Edge> (*edges_of)(const Scene&)) {
    Attack attack;
    Scene scene(attack);
    const auto edges = edges_of(scene);
    std::size_t count = 0;
    for (const auto& edge : edges) {
        if (!edge.has_meaning) {
            continue;
        }
        auto request = edge.request;
        scene.provide(request);
        (void)attack.wait(attack.send_request(request));
        attack.check(edge.what);
        scene.end_other_jobs();
        if (++count % 20 == 0) {
            scene.tidy();
        }
    }
    scene.tidy();
    scene.check_victim();
    // What these say of connections counts for nothing: they are looked at before
    count = 0;
    for (const auto& edge : edges) {
        if (edge.has_meaning) {
            continue;
        }
        offend(attack, edge.request);
        attack.must_be_ended(edge.what, "field");
        if (++count % 10 == 0) {
            attack.check(edge.what);
        }
    }
    attack.check("all edges");
    scene.tidy();
    scene.check_victim();
}

} // namespace

TEST_CASE("requests about volumes, each field at its edges") {
    try_all(edges_of_volumes);
}

TEST_CASE("requests about jobs, each field at its edges") {
    try_all(edges_of_jobs);
}

TEST_SUITE_END();

} // namespace joblet::testing
