// Volumes attached: their size, one writer or many readers, after a crash, and when something fails.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <memory>

#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;

TEST_CASE("the size asked for can be written, and not much more") {
    World world;
    const auto image = make_volume_record("data", 9 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    const auto order = make_prepare({image}, Access::ReadWrite);
    auto reply = world.prepare(order);
    const Fd& data = volume_of(reply);
    const int status = as_user(kWorkerTestSlot, [&data] {
        const Fd file = open_at(data, "all", O_WRONLY | O_CREAT);
        const std::string block(kMiB, 'x');
        for (int i = 0; i < 9; ++i) {
            if (::write(file.get(), block.data(), block.size()) != static_cast<ssize_t>(block.size())) {
                return 1;
            }
        }
        if (::fsync(file.get()) != 0) {
            return 2;
        }
        return ::write(file.get(), block.data(), block.size()) == static_cast<ssize_t>(block.size()) ? 3 : 0;
    });
    CHECK(status == 0);
    CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);
}

TEST_CASE("one writer or many readers, held by the kernel and not by anybody's memory") {
    World world;
    WorkerProcess second(world.installation);
    const auto image = make_volume_record("data", 5 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    auto writing = make_prepare({image}, Access::ReadWrite);
    auto writer = world.prepare(writing);
    REQUIRE(writer.answer.code == ErrorCode::Ok);
    CHECK(write_as_slot(volume_of(writer), "file", "shared"));

    for (const Access access : {Access::ReadWrite, Access::ReadOnly}) {
        const auto refused = make_prepare({image}, access);
        const auto reply = world.prepare(second, refused);
        CHECK(reply.answer.code == ErrorCode::InUse);
        CHECK(reply.answer.step == Step::OpenVolume);
        CHECK(reply.descriptors.empty());
        CHECK_FALSE(fs::exists(world.installation.ended(refused.record.id)));
        CHECK_FALSE(fs::exists(world.installation.running(refused.record.id)));
    }
    CHECK(world.worker.order(TrashVolume{.record = image}).answer.code == ErrorCode::InUse);
    CHECK(world.installation.loops() == 1);

    // The worker that attached it is killed: the mount is the job's, and stays.
    world.worker.kill_now();
    CHECK(world.installation.loops() == 1);
    CHECK(world.prepare(second, make_prepare({image}, Access::ReadWrite)).answer.code == ErrorCode::InUse);
    writer.descriptors.clear();
    CHECK(world.installation.loops() == 0);

    auto first_reading = make_prepare({image}, Access::ReadOnly);
    auto second_reading = make_prepare({image}, Access::ReadOnly);
    auto one = world.prepare(second, first_reading);
    auto two = world.prepare(second, second_reading);
    CHECK(world.installation.loops() == 2);
    for (const auto* reader : {&one, &two}) {
        CHECK(read_as_slot(volume_of(*reader), "file") == "shared");
        CHECK_FALSE(write_as_slot(volume_of(*reader), "other", "x"));
        CHECK((mount_flags(volume_of(*reader)) & ST_RDONLY) != 0);
    }
    CHECK(world.prepare(second, make_prepare({image}, Access::ReadWrite)).answer.code == ErrorCode::InUse);
    one.descriptors.clear();
    two.descriptors.clear();
    CHECK(world.installation.loops() == 0);
    CHECK(second.order(TrashVolume{.record = image}).answer.code == ErrorCode::Ok);
}

TEST_CASE("workers that attach at once each get a loop device") {
    World world;
    constexpr std::size_t kWorkers = 4;
    constexpr int kRounds = 5;
    const auto image = make_volume_record("shared", 2 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    std::vector<std::unique_ptr<WorkerProcess>> workers;
    for (std::size_t i = 0; i < kWorkers; ++i) {
        workers.push_back(std::make_unique<WorkerProcess>(world.installation));
        workers.back()->load_jobs();
    }
    const int descriptor = world.volumes_namespace.get();
    for (int round = 0; round < kRounds; ++round) {
        for (const auto& worker : workers) {
            auto order = make_prepare({image}, Access::ReadOnly);
            order.header.type = PrepareJob::kType;
            worker->send(std::as_bytes(std::span(&order, 1)), std::span(&descriptor, 1));
        }
        std::vector<WorkerProcess::Reply> replies;
        for (const auto& worker : workers) {
            replies.push_back(worker->receive());
            CHECK(replies.back().answer.code == ErrorCode::Ok);
        }
        CHECK(world.installation.loops() == static_cast<int>(kWorkers));
    }
    CHECK(world.installation.loops() == 0);
}

TEST_CASE("a reader of an image whose host went down sees what was synced") {
    World world;
    const auto image = make_volume_record("data", 5 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    const fs::path file = world.installation.volume(image.id) / "image";
    {
        auto writer = world.prepare(make_prepare({image}, Access::ReadWrite));
        REQUIRE(write_as_slot(volume_of(writer), "file", "synced"));
        const Fd directory = open_at(volume_of(writer), ".", O_RDONLY | O_DIRECTORY);
        REQUIRE(::syncfs(directory.get()) == 0);
        REQUIRE(write_as_slot(volume_of(writer), "file2", "in the journal"));
        const Fd second = open_at(volume_of(writer), "file2", O_RDONLY);
        REQUIRE(::fsync(second.get()) == 0);
        fs::copy_file(file, world.installation.root() / "crashed"); // as the disk is at this moment
    }
    CHECK(world.installation.loops() == 0);
    run_command({"dd", "if=" + (world.installation.root() / "crashed").string(), "of=" + file.string(), "conv=notrunc", "status=none"});
    CHECK(run_command({"dumpe2fs", "-h", file.string()}).find("needs_recovery") != std::string::npos);

    auto first = world.prepare(make_prepare({image}, Access::ReadOnly));
    auto second = world.prepare(make_prepare({image}, Access::ReadOnly));
    for (const auto* reader : {&first, &second}) {
        CHECK(read_as_slot(volume_of(*reader), "file") == "synced");
        CHECK(read_as_slot(volume_of(*reader), "file2") == "in the journal");
    }
    CHECK(run_command({"dumpe2fs", "-h", file.string()}).find("needs_recovery") == std::string::npos);
}

TEST_CASE("case_16: a failure after some volumes were mounted unmounts them") {
    World world;
    const auto image = make_volume_record("data", 5 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    const auto missing = make_volume_record("missing", 5 * kMiB, Backend::Image);
    const auto order = make_prepare({image, missing}, Access::ReadWrite);
    const auto reply = world.prepare(order);
    CHECK(reply.answer.code == ErrorCode::NotFound);
    CHECK(reply.answer.step == Step::OpenVolume);
    CHECK(world.installation.loops() == 0);
    auto bad_base = make_prepare({image}, Access::ReadWrite);
    bad_base.base = NameText("nowhere");
    const auto refused = world.prepare(bad_base);
    CHECK(refused.answer.code == ErrorCode::Unsupported);
    CHECK(refused.answer.step == Step::BuildTemplate);
    CHECK(world.installation.loops() == 0);
    // The wrong kind of namespace for the idmap
    const Fd wrong(::open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
    const int descriptor = wrong.get();
    const auto unmapped = world.worker.order(make_prepare({image}, Access::ReadWrite), std::span(&descriptor, 1));
    CHECK(unmapped.answer.step == Step::IdmapVolume);
    CHECK(world.installation.loops() == 0);
    CHECK(fs::is_empty(world.installation.root() / "opt/joblet/jobs"));
    CHECK(fs::is_empty(world.installation.root() / "run/joblet/jobs"));
}

TEST_CASE("a job gets a volume only with the size that its record has") {
    World world;
    const auto record = make_volume_record("memory", 2 * kMiB, Backend::Tmpfs);
    create_volume(world.worker, record);
    auto order = make_prepare({record}, Access::ReadWrite);
    order.volumes[0].size_bytes *= 2;
    CHECK(world.prepare(order).answer.code == ErrorCode::Quarantined);
}
