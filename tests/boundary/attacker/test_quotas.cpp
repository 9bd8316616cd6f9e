// What becomes of the rows of quotas. Where the store has some (JOBLET_TEST_STORE; tests/vm), they are looked at after each step of
// every other test, too.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include "tests/boundary/attacker/step_maker.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("quotas");

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

protocol::ResizeVolume resize_of(const VolumeId& id, std::uint64_t bytes) {
    protocol::ResizeVolume request;
    request.id = id;
    request.size_bytes = bytes;
    return request;
}

} // namespace

TEST_CASE("a volume's row comes with it, has its size, stays while it is in the trash, and goes with it" *
          doctest::skip(!has_quota_store())) {
    Attack attack;
    Scene scene(attack);
    const auto id = scene.make_volume(scene.alice, VolumeType::Filesystem);
    attack.check("a volume");
    CHECK(attack.reply_to(scene.alice, resize_of(id, 9 * kMiB)).code == ErrorCode::Ok);
    attack.check("it grows");
    CHECK(attack.reply_to(scene.alice, resize_of(id, 2 * kMiB)).code == ErrorCode::Ok);
    attack.check("it shrinks");
    CHECK(attack.reply_to(scene.bob, resize_of(id, 64 * kMiB)).code == ErrorCode::NotFound);
    attack.check("another user's word counts for nothing");
    CHECK(attack.reply_to(scene.alice, resize_of(id, 65 * kMiB)).code != ErrorCode::Ok);
    attack.check("more than he may have");
    CHECK(attack.reply_to(scene.alice, removal_of(id, 0)).code == ErrorCode::Ok);
    attack.check("it is in the trash");
    protocol::RestoreVolume restore;
    restore.id = id;
    restore.name = NameText("again");
    CHECK(attack.reply_to(scene.alice, restore).code == ErrorCode::Ok);
    attack.check("it is back");
    CHECK(attack.reply_to(scene.alice, removal_of(id)).code == ErrorCode::Ok);
    attack.check("it is gone");
    scene.tidy();
    scene.check_victim();
}

TEST_CASE("an API that dies with creates and removals unanswered leaves no row without a volume" * doctest::skip(!has_quota_store())) {
    Attack attack;
    Scene scene(attack);
    for (std::size_t round = 0; round < steps_of(3, 300); ++round) {
        for (int i = 0; i < 3; ++i) {
            (void)attack.send(scene.alice, volume_request(fmt::format("r{}v{}", round, i), VolumeType::Filesystem));
        }
        (void)attack.send(scene.alice, removal_of(scene.disk));
        attack.die();
        scene.restore();
        attack.check("death in the middle of it");
    }
    scene.tidy();
    scene.check_victim();
}

TEST_SUITE_END();

} // namespace joblet::testing
