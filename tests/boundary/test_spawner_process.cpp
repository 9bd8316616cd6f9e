// The spawner itself: what it is, which orders it takes, and that jobs do not need it once they run.
#include <doctest/doctest.h>

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <memory>

#include "tests/boundary/spawner_world.h"
#include "tests/guest/expectations.h"

namespace joblet::testing {

TEST_CASE("the spawner has six capabilities, no new privileges, a filter, and an empty mount namespace") {
    World world;
    const pid_t pid = world.spawner.pid();
    // SETGID SETUID SETPCAP NET_ADMIN SYS_CHROOT SYS_ADMIN
    constexpr std::string_view kServing = "00000000002411c0";
    for (const char* set : {"CapPrm", "CapEff", "CapBnd"}) {
        CHECK(status_field(pid, set) == kServing);
    }
    for (const char* set : {"CapInh", "CapAmb"}) {
        CHECK(status_field(pid, set) == guest::kNoCapabilities);
    }
    CHECK(status_field(pid, "NoNewPrivs") == "1");
    CHECK(status_field(pid, "Seccomp") == "2");
    std::ifstream mounts("/proc/" + std::to_string(pid) + "/mountinfo");
    const std::string text{std::istreambuf_iterator<char>(mounts), {}};
    CHECK(std::ranges::count(text, '\n') == 1);
    CHECK(text.find(" / / ro,nosuid,nodev") != std::string::npos);
}

TEST_CASE("case_13: the spawner does not start with a descriptor that jobletd does not give") {
    SpawnerProcess spawner(1);
    const int status = spawner.wait_exit();
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 1);
}

TEST_CASE("the spawner ends when the broker's socket closes, jobs live on and leave their record") {
    auto world = std::make_unique<World>();
    auto job = world->start(guest({"await-signal"}));
    job.read_line();
    world->spawner.close_socket();
    const int status = world->spawner.wait_exit();
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);

    World other;
    auto second = other.start(guest({"await-signal"}));
    second.read_line();
    other.spawner.kill_now();
    for (auto* running : {&job, &second}) {
        running->signal_as_rnx(SIGUSR2);
        CHECK(running->read_line() == "{\"signal\":12}");
        REQUIRE(running->finish());
        CHECK(running->agreed());
    }
}

TEST_CASE("what is no order ends the spawner, and nothing is carried out") {
    const auto refused = [](std::span<const std::byte> bytes, std::span<const int> descriptors) {
        SpawnerProcess spawner;
        CHECK_FALSE(spawner.order(bytes, descriptors));
        const int status = spawner.wait_exit();
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 1);
    };
    spawner::MakeSlot order;
    order.header.type = spawner::OrderType::MakeSlot;
    order.slot_first = kTestSlot;
    const auto bytes = std::as_bytes(std::span(&order, 1));
    const std::array extra = {STDIN_FILENO};
    refused(bytes.first(bytes.size() - 1), {});
    refused(bytes, extra);
    order.slot_first = 0; // would map the host's root
    refused(bytes, {});
}

TEST_CASE("an order decodes only if every field has a meaning") {
    using namespace joblet::spawner;
    const auto decodes = [](const auto& order, std::size_t descriptors) {
        return decode_order(std::as_bytes(std::span(&order, 1)), descriptors).has_value();
    };
    MakeSlot slot;
    slot.header.type = OrderType::MakeSlot;
    slot.slot_first = kSlotFirst;
    CHECK(decodes(slot, 0));
    for (const std::uint32_t first : {0U, 1U, 65535U, kSlotFirst + 1, kForeignFirst, 0xffff0000U}) {
        slot.slot_first = first;
        CHECK_FALSE(decodes(slot, 0));
    }
    Launch good;
    good.header.type = OrderType::Launch;
    good.host_name = NameText("host");
    good.volume_count = 2;
    good.volumes[0] = {NameText("a"), TargetText("/data")};
    good.volumes[1] = {NameText("b"), TargetText("")};
    CHECK(decodes(good, kLaunchFixed + 2));
    CHECK_FALSE(decodes(good, kLaunchFixed + 1));
    const auto spoilt = [&](auto spoil) {
        Launch bad = good;
        spoil(bad);
        return decodes(bad, kLaunchFixed + bad.volume_count);
    };
    CHECK(spoilt([](Launch& o) { o.flags = kLaunchHostNetwork | kLaunchMaskedProc; }));
    CHECK(spoilt([](Launch& o) { o.user = o.group = 65535; }));
    CHECK(spoilt([](Launch& o) { o.timeout_ns = joblet::protocol::kTimeoutMax; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.flags = 8; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.user = 65536; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.group = 65536; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.timeout_ns = joblet::protocol::kTimeoutMax + 1; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.log_bytes = joblet::protocol::kLogMin; })); // not detached
    Launch detached = good;
    detached.flags = kLaunchDetached;
    detached.log_bytes = joblet::protocol::kLogMin;
    CHECK(decodes(detached, kLaunchFixed + kLaunchLogFiles + 2));
    CHECK_FALSE(decodes(detached, kLaunchFixed + 2));
    CHECK_FALSE(decodes(detached, kLaunchFixed + kLaunchLogFiles + 3));
    detached.log_bytes = joblet::protocol::kLogMin - 1;
    CHECK_FALSE(decodes(detached, kLaunchFixed + kLaunchLogFiles + 2));
    CHECK_FALSE(spoilt([](Launch& o) { o.kind = JobKind::System, o.user = 1; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.kind = JobKind::System, o.flags = kLaunchHostNetwork; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.header.zero = 1; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.header.type = static_cast<OrderType>(3); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.host_name = NameText(""); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.host_name.data.fill('a'); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.kind = static_cast<JobKind>(2); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volume_count = 17; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volume_count = 1; })); // the second is not zero
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].name = NameText("a"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].target = TargetText("/data/below"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].target = TargetText("/proc/x"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].target = TargetText("/a/../b"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].name = NameText("../x"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].name.data[10] = 'x'; })); // beyond its end
}

TEST_CASE("forty jobs at once start and end") {
    World world;
    std::vector<std::unique_ptr<TestJob>> jobs;
    jobs.reserve(40);
    for (int i = 0; i < 40; ++i) {
        jobs.push_back(std::make_unique<TestJob>(world.spawner, world.slot, guest({"exit", std::to_string(i)})));
    }
    for (int i = 0; i < 40; ++i) {
        auto& job = *jobs[static_cast<std::size_t>(i)];
        REQUIRE(job.finish());
        REQUIRE(job.agreed());
        CHECK(job.agreed()->code == i);
    }
}

} // namespace joblet::testing
