// What is used of volumes, and sizes that change in place: memory, btrfs, and an image that a job has.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker-root/worker/image_geometry.h"
#include "tests/boundary/worker_job.h"
#include "tests/boundary/worker_sizes.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;

namespace {

// A job that has one volume.
struct SizedWorld : World {
    VolumeRecord record;
    PrepareJob order;
    std::unique_ptr<RunningJob> job;

    SizedWorld(StoreKind store, std::uint64_t bytes, Backend backend, OwnedBy owned_by = OwnedBy::Host)
        : World(store), record(make_volume_record("data", bytes, backend)) {
        create_volume(worker, record);
        order = make_prepare({record}, Access::ReadWrite);
        auto reply = prepare(order);
        REQUIRE(reply.answer.code == ErrorCode::Ok);
        job = std::make_unique<RunningJob>(order, std::move(reply), owned_by);
    }
    [[nodiscard]] Fd mount_namespace() const {
        return job->mount_namespace();
    }
    [[nodiscard]] Fd data() const {
        return job->open("volumes/data");
    }
};

} // namespace

TEST_CASE("a memory volume is empty until a job has it, and is measured there") {
    SizedWorld world(StoreKind::Plain, 4 * kMiB, Backend::Tmpfs);
    const auto alone = measure(world.worker, world.record);
    CHECK(alone.answer.code == ErrorCode::Ok);
    CHECK(alone.usage.bytes == 0);
    CHECK(alone.usage.bytes_limit == 4 * kMiB);
    CHECK(write_as_slot(world.data(), "file", std::string(kMiB, 'x')));
    const Fd there = world.mount_namespace();
    const auto used = measure(world.worker, world.record, there.get());
    CHECK(used.answer.code == ErrorCode::Ok);
    CHECK(used.usage.bytes == kMiB);
    CHECK(used.usage.bytes_limit == 4 * kMiB);
    CHECK(used.usage.inodes >= 2); // root and file
    CHECK(used.usage.inodes_limit == 1025);
}

TEST_CASE("a memory volume grows and shrinks in the job that has it, but not below what is used") {
    auto owned_by = OwnedBy::Host;
    SUBCASE("in the host's namespaces") {}
    SUBCASE("in a user namespace of its own") {
        owned_by = OwnedBy::UserNamespace;
    }
    SizedWorld world(StoreKind::Plain, 4 * kMiB, Backend::Tmpfs, owned_by);
    const Fd there = world.mount_namespace();
    CHECK_FALSE(write_as_slot(world.data(), "file", std::string(6 * kMiB, 'x')));
    auto record = world.record;
    record.size_bytes = 8 * kMiB;
    CHECK(resize(world.worker, record, there.get()).answer.code == ErrorCode::Ok);
    CHECK(write_as_slot(world.data(), "file", std::string(6 * kMiB, 'x')));
    CHECK(record_of(world.worker, record.id).size_bytes == 8 * kMiB);

    record.size_bytes = 5 * kMiB;
    const auto refused = resize(world.worker, record, there.get());
    CHECK(refused.answer.code == ErrorCode::LimitExceeded);
    CHECK(refused.answer.step == Step::ResizeVolume);
    CHECK(refused.usage.bytes == 6 * kMiB);
    CHECK(refused.usage.bytes_limit == 8 * kMiB);
    CHECK(record_of(world.worker, record.id).size_bytes == 8 * kMiB);

    record.size_bytes = 6 * kMiB;
    CHECK(resize(world.worker, record, there.get()).answer.code == ErrorCode::Ok);
    CHECK_FALSE(write_as_slot(world.data(), "more", std::string(8192, 'x')));
    CHECK((mount_flags(world.data()) & (ST_NOSUID | ST_NODEV)) == (ST_NOSUID | ST_NODEV));
}

TEST_CASE("a memory volume that nobody has takes its new size with the next job") {
    World world;
    auto record = make_volume_record("data", 4 * kMiB, Backend::Tmpfs);
    create_volume(world.worker, record);
    record.size_bytes = 2 * kMiB;
    record.inodes = 7;
    CHECK(resize(world.worker, record).answer.code == ErrorCode::Ok);
    const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
    CHECK_FALSE(write_as_slot(volume_of(reply), "file", std::string(3 * kMiB, 'x')));
    const Fd root = open_at(volume_of(reply), ".", O_PATH);
    struct statvfs held{};
    REQUIRE(::fstatvfs(root.get(), &held) == 0);
    CHECK(held.f_blocks * held.f_frsize == 2 * kMiB);
    CHECK(held.f_files == 8);
}

TEST_CASE("memory volumes stay out of swap wherever the kernel can do that, and it says so") {
    const Fd context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
    const bool can = ::fsconfig(context.get(), FSCONFIG_SET_FLAG, "noswap", nullptr, 0) == 0;
    SizedWorld world(StoreKind::Plain, 4 * kMiB, Backend::Tmpfs);
    CHECK(((world.worker.facts().flags & protocol::kHostNoSwap) != 0) == can);
    CHECK((world.job->mount_line("/volumes/data").find("noswap") != std::string::npos) == can);
}

TEST_CASE("what a btrfs volume uses is counted by its group, and its limit holds from the moment it changes") {
    SizedWorld world(StoreKind::Btrfs, 16 * kMiB, Backend::Btrfs);
    const Fd data = world.data();
    CHECK(write_as_slot(data, "file", std::string(6 * kMiB, 'x')));
    const Fd store(::open(world.installation.state().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(::syncfs(store.get()) == 0);
    const auto used = measure(world.worker, world.record);
    CHECK(used.answer.code == ErrorCode::Ok);
    CHECK(used.usage.bytes >= 6 * kMiB);
    CHECK(used.usage.bytes < 7 * kMiB);
    CHECK(used.usage.bytes_limit >= 16 * kMiB);
    CHECK(used.usage.bytes_limit < 17 * kMiB);
    CHECK(used.usage.inodes == 0);

    auto record = world.record;
    record.size_bytes = 5 * kMiB;
    const auto refused = resize(world.worker, record);
    CHECK(refused.answer.code == ErrorCode::LimitExceeded);
    CHECK(refused.usage.bytes == used.usage.bytes);
    CHECK(refused.usage.bytes_limit == used.usage.bytes_limit);
    CHECK(record_of(world.worker, record.id).size_bytes == 16 * kMiB);

    record.size_bytes = 8 * kMiB;
    CHECK(resize(world.worker, record).answer.code == ErrorCode::Ok);
    CHECK_FALSE(write_as_slot(data, "more", std::string(4 * kMiB, 'x')));
    CHECK(record_of(world.worker, record.id).size_bytes == 8 * kMiB);

    record.size_bytes = 32 * kMiB;
    CHECK(resize(world.worker, record).answer.code == ErrorCode::Ok);
    CHECK(write_as_slot(data, "much", std::string(12 * kMiB, 'x')));
    CHECK(measure(world.worker, record).usage.bytes_limit > 32 * kMiB);

    record.inodes = 10;
    CHECK(resize(world.worker, record).answer.code == ErrorCode::Unsupported);
}

TEST_CASE("a btrfs volume is not measured when its group counts nothing") {
    World world(StoreKind::Btrfs);
    const auto record = make_volume_record("data", 5 * kMiB, Backend::Btrfs);
    create_volume(world.worker, record);
    run_command({"btrfs", "quota", "disable", world.installation.state().string()});
    const auto refused = measure(world.worker, record);
    CHECK(refused.answer.code == ErrorCode::Unsupported);
    CHECK(refused.answer.step == Step::MeasureVolume);
    CHECK(refused.answer.sys_errno == ENOTCONN);
}

TEST_CASE("an image is measured in the job that has it, or mounted for that, in the trash too") {
    SizedWorld world(StoreKind::Plain, 8 * kMiB, Backend::Image);
    CHECK(write_as_slot(world.data(), "file", std::string(3 * kMiB, 'x')));
    Fd there = world.mount_namespace();
    const auto used = measure(world.worker, world.record, there.get());
    CHECK(used.answer.code == ErrorCode::Ok);
    CHECK(used.usage.bytes >= 3 * kMiB);
    CHECK(used.usage.bytes < 4 * kMiB);
    CHECK(used.usage.bytes_limit >= 8 * kMiB);
    CHECK(used.usage.bytes_limit < 9 * kMiB);
    CHECK(used.usage.inodes_limit >= image_inodes_for(8 * kMiB, 0));
    CHECK(measure(world.worker, world.record).answer.code == ErrorCode::InUse);

    there.reset(); // it holds the mounts, too
    world.job.reset();
    REQUIRE(world.finish(world.order.record.id, {}).answer.code == ErrorCode::Ok);
    const auto alone = measure(world.worker, world.record);
    CHECK(alone.answer.code == ErrorCode::Ok);
    CHECK(alone.usage.bytes == used.usage.bytes);
    CHECK(alone.usage.inodes == used.usage.inodes);
    CHECK(world.installation.loops() == 0);
    REQUIRE(world.worker.order(TrashVolume{.record = world.record}).answer.code == ErrorCode::Ok);
    CHECK(measure(world.worker, world.record).answer.code == ErrorCode::NotFound);
    const auto trashed = answer_of(world.worker.order(MeasureVolume{.record = world.record, .in_trash = 1}));
    CHECK(trashed.usage.bytes == used.usage.bytes);
}

TEST_CASE("a volume is measured only where a job has it mounted") {
    SizedWorld world(StoreKind::Plain, 4 * kMiB, Backend::Tmpfs);
    const Fd there = world.mount_namespace();
    const auto other = make_volume_record("other", 4 * kMiB, Backend::Tmpfs);
    create_volume(world.worker, other);
    CHECK(measure(world.worker, other, there.get()).answer.code == ErrorCode::NotFound);
    const Fd wrong(::open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
    CHECK(measure(world.worker, world.record, wrong.get()).answer.code != ErrorCode::Ok);
    // Another file system than the record says
    auto image = make_volume_record("data", 4 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    CHECK(measure(world.worker, image, there.get()).answer.code == ErrorCode::Quarantined);
    CHECK(measure(world.worker, world.record, there.get()).answer.code == ErrorCode::Ok);
}

TEST_CASE("an image grows while a job has it, or it is said that this machine does not allow it and nothing has changed") {
    SizedWorld world(StoreKind::Plain, 8 * kMiB, Backend::Image);
    CHECK(((world.worker.facts().flags & protocol::kHostOnlineGrow) != 0) == can_grow_online());
    const fs::path image = world.installation.volume(world.record.id) / "image";
    const auto before = fs::file_size(image);
    CHECK(write_as_slot(world.data(), "file", "kept"));
    Fd there = world.mount_namespace();
    auto record = world.record;
    record.size_bytes = 64 * kMiB;
    record.image_bytes = resized_image_bytes_for(record.size_bytes, 0);
    const auto resized = resize(world.worker, record, there.get());
    if (can_grow_online()) {
        CHECK(resized.answer.code == ErrorCode::Ok);
        CHECK(fs::file_size(image) == record.image_bytes);
        CHECK(measure(world.worker, record, there.get()).usage.bytes_limit >= 64 * kMiB);
        CHECK(write_as_slot(world.data(), "more", std::string(60 * kMiB, 'x')));
        CHECK(record_of(world.worker, record.id).image_bytes == record.image_bytes);
        CHECK(line_of(read_text("/proc/" + std::to_string(world.worker.pid()) + "/status"), "CapEff:\t") == "CapEff:\t0000000000240001");
    } else {
        CHECK(resized.answer.code == ErrorCode::Unsupported);
        CHECK(resized.answer.sys_errno == EPERM);
        CHECK(resized.answer.step == Step::ResizeVolume);
        CHECK(fs::file_size(image) == before);
        CHECK(record_of(world.worker, record.id).size_bytes == 8 * kMiB);
    }
    record.size_bytes = 4 * kMiB;
    CHECK(resize(world.worker, record, there.get()).answer.code == ErrorCode::Unsupported);
    there.reset(); // it holds the mounts, too
    world.job.reset();
    REQUIRE(world.finish(world.order.record.id, {}).answer.code == ErrorCode::Ok);
    CHECK(run_command({"e2fsck", "-fn", image.string()}).find("non-contiguous") != std::string::npos);
}
