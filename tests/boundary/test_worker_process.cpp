// How joblet-worker starts, serves and ends.
#include <doctest/doctest.h>

#include <sys/statvfs.h>

#include <algorithm>

#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;

TEST_CASE("a worker serves with three capabilities and two in reserve, a filter, and nothing of the host's mounts") {
    World world;
    CHECK(world.worker.load_volumes().empty());
    const std::string status = read_text("/proc/" + std::to_string(world.worker.pid()) + "/status");
    CHECK(line_of(status, "CapEff:\t") == "CapEff:\t0000000000240001"); // CHOWN, SYS_CHROOT, SYS_ADMIN
    // And, to be raised for growing a volume that is attached, SYS_RESOURCE and DAC_READ_SEARCH: both or none, as the machine has them
    const char* const permitted = can_grow_online() ? "0000000001240005" : "0000000000240001";
    for (const char* const set : {"CapPrm:\t", "CapBnd:\t"}) {
        CHECK(line_of(status, set) == std::string(set) + permitted);
    }
    CHECK(line_of(status, "CapInh:\t") == "CapInh:\t0000000000000000");
    CHECK(line_of(status, "CapAmb:\t") == "CapAmb:\t0000000000000000");
    CHECK(line_of(status, "NoNewPrivs:\t") == "NoNewPrivs:\t1");
    CHECK(line_of(status, "Seccomp:\t") == "Seccomp:\t2");
    CHECK(line_of(status, "Umask:\t") == "Umask:\t0077");
    const std::string mounts = read_text("/proc/" + std::to_string(world.worker.pid()) + "/mountinfo");
    CHECK(std::count(mounts.begin(), mounts.end(), '\n') == 8); // root, store, ended, running, dev, nodes, usr, base
    for (std::size_t at = 0; at < mounts.size(); at = mounts.find('\n', at) + 1) {
        CHECK(mounts.substr(at, mounts.find('\n', at) - at).find("nosuid") != std::string::npos);
    }
}

TEST_CASE("case_13: a worker that inherits another descriptor does not start") {
    const Installation installation;
    WorkerProcess worker(installation, Surroundings::LeakedDescriptor);
    CHECK(worker.wait_for_end() == 1);
}

TEST_CASE("a worker ends when the broker does") {
    World world;
    world.worker.load_volumes();
    world.worker.close_socket();
    CHECK(world.worker.wait_for_end() == 0);
}

TEST_CASE("bytes that are no order end the worker") {
    World world;
    world.worker.load_volumes();
    const auto end_of = [&world](const auto& order, std::size_t size, std::span<const int> descriptors = {}) {
        return world.worker.order_and_wait_for_end(std::as_bytes(std::span(&order, 1)).first(size), descriptors);
    };
    EmptyTrash order{.id = make_random_id<VolumeId>()};
    order.header.type = EmptyTrash::kType;
    const int null = 0;
    SUBCASE("too short") {
        CHECK(end_of(order, sizeof order - 1) == 1);
    }
    SUBCASE("an unknown type") {
        order.header.type = static_cast<OrderType>(99);
        CHECK(end_of(order, sizeof order) == 1);
    }
    SUBCASE("a type of another size") {
        order.header.type = OrderType::CommitVolume;
        CHECK(end_of(order, sizeof order) == 1);
    }
    SUBCASE("a field that must be zero") {
        order.header.zero = 1;
        CHECK(end_of(order, sizeof order) == 1);
    }
    SUBCASE("no id") {
        order.id = {};
        CHECK(end_of(order, sizeof order) == 1);
    }
    SUBCASE("a stray descriptor") {
        CHECK(end_of(order, sizeof order, std::span(&null, 1)) == 1);
    }
    SUBCASE("a volume to attach without the job's namespace") {
        AttachVolume attach;
        const auto record = make_volume_record("data", kMiB, Backend::Tmpfs);
        attach.header.type = AttachVolume::kType;
        attach.record = make_prepare({record}, Access::ReadWrite).record;
        attach.volume = make_mount(record, Access::ReadWrite);
        attach.slot_first = kWorkerTestSlot;
        CHECK(end_of(attach, sizeof attach, std::span(&null, 1)) == 1);
    }
    SUBCASE("a volume to measure in two jobs") {
        MeasureVolume measure{.record = make_volume_record("data", kMiB, Backend::Tmpfs)};
        measure.header.type = MeasureVolume::kType;
        const std::array both = {null, null};
        CHECK(end_of(measure, sizeof measure, both) == 1);
    }
    SUBCASE("a job without its user namespace") {
        auto prepare = make_prepare({}, Access::ReadWrite);
        prepare.header.type = PrepareJob::kType;
        CHECK(end_of(prepare, sizeof prepare) == 1);
    }
}

TEST_CASE("a worker works in a chroot whose root is no mount point") {
    Installation installation;
    WorkerProcess worker(installation, Surroundings::Chroot);
    const auto image = make_volume_record("data", 2 * kMiB, Backend::Image);
    create_volume(worker, image);
    const Fd user_namespace = make_volume_user_namespace(kWorkerTestSlot);
    const int descriptor = user_namespace.get();
    const auto reply = worker.order(make_prepare({image}, Access::ReadWrite), std::span(&descriptor, 1));
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    CHECK(status_of(volume_of(reply)).st_uid == kWorkerTestSlot);
    CHECK(in_namespace(reply.descriptors[kTemplate].get(), [] { return read_text("/etc/of-base") == "hello" ? 0 : 1; }) == 0);
}
