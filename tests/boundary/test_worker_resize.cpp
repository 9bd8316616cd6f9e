// Images that no job has, resized by a copy that takes their place; lengths that a crash left; and a volume that is only tried.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "broker-root/layout.h"
#include "broker-root/worker/image_geometry.h"
#include "tests/boundary/worker_sizes.h"
#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;
using protocol::VolumeStatus;

namespace {

VolumeRecord with_size(VolumeRecord record, std::uint64_t bytes) {
    record.size_bytes = bytes;
    record.image_bytes = resized_image_bytes_for(bytes, record.inodes);
    return record;
}

// What the broker's system jobs do; throws where they fail. `before`: as it is.
WorkerProcess::Reply stage_resized(WorkerProcess& worker, const VolumeRecord& before, const VolumeRecord& after) {
    const auto opened = worker.order(OpenImage{.record = before});
    REQUIRE(opened.answer.code == ErrorCode::Ok);
    REQUIRE(opened.descriptors.size() == 1);
    CHECK((::fcntl(opened.descriptors[0].get(), F_GETFL) & O_ACCMODE) == O_RDONLY);
    auto staged = worker.order(StageVolume{.record = after, .slot_first = kWorkerTestSlot, .image_is_larger = 1});
    REQUIRE(staged.answer.code == ErrorCode::Ok);
    REQUIRE(staged.descriptors.size() == 1);
    run_command(copy_arguments(), opened.descriptors[0].get(), staged.descriptors[0].get());
    run_command(resize_arguments(after), staged.descriptors[0].get());
    staged.descriptors.clear();
    return staged;
}

Answer resize_offline(WorkerProcess& worker, const VolumeRecord& before, const VolumeRecord& after) {
    stage_resized(worker, before, after);
    return worker.order(CommitResize{.record = after}).answer;
}

void write_file(World& world, const VolumeRecord& record, const char* name, const std::string& text) {
    const auto order = make_prepare({record}, Access::ReadWrite);
    auto reply = world.prepare(order);
    CHECK(write_as_slot(volume_of(reply), name, text));
    CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);
}

} // namespace

TEST_CASE("an image grows and shrinks by a copy, with what is in it, and holds the size that it was given") {
    World world;
    auto record = make_volume_record("data", 8 * kMiB, Backend::Image);
    create_volume(world.worker, record, make_labels("a=b"));
    write_file(world, record, "file", "kept");
    write_file(world, record, "full", std::string(7 * kMiB, 'x'));
    // From few small blocks to many, to another length of block and journal, and back
    for (const std::uint64_t size : {100 * kMiB, 40 * kMiB, 300 * kMiB, 20 * kMiB}) {
        CAPTURE(size);
        const auto after = with_size(record, size);
        const auto resized = resize_offline(world.worker, record, after);
        CHECK(resized.code == ErrorCode::Ok);
        CHECK(fs::file_size(world.installation.volume(record.id) / "image") == after.image_bytes);
        CHECK(fs::is_empty(world.installation.state() / "staging"));
        record = after;
        const auto loaded = world.worker.load_volumes();
        REQUIRE(loaded.size() == 1);
        CHECK(loaded[0].status == VolumeStatus::Available);
        CHECK(loaded[0].record.size_bytes == size);
        CHECK(loaded[0].labels_size == 3);
        const auto usage = measure(world.worker, record).usage;
        CHECK(usage.bytes >= 7 * kMiB);
        CHECK(usage.bytes_limit >= size);
        CHECK(usage.bytes_limit < size + size / 8 + kMiB);
        const auto order = make_prepare({record}, Access::ReadWrite);
        auto reply = world.prepare(order);
        CHECK(read_as_slot(volume_of(reply), "file") == "kept");
        CHECK(status_of(volume_of(reply)).st_uid == kWorkerTestSlot);
        CHECK(write_as_slot(volume_of(reply), "more", std::string(size - 9 * kMiB, 'x')));
        CHECK_FALSE(write_as_slot(volume_of(reply), "too much", std::string(size, 'x')));
        for (const char* const name : {"more", "too much"}) {
            CHECK(as_user(kWorkerTestSlot, [&] { return ::unlinkat(volume_of(reply).get(), name, 0); }) == 0);
        }
        CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);
    }
    CHECK(world.installation.loops() == 0);
}

TEST_CASE("an image that somebody copies can be attached by nobody, and one that somebody has is not copied") {
    World world;
    const auto record = make_volume_record("data", 8 * kMiB, Backend::Image);
    create_volume(world.worker, record);
    {
        const auto opened = world.worker.order(OpenImage{.record = record});
        REQUIRE(opened.answer.code == ErrorCode::Ok);
        for (const Access access : {Access::ReadWrite, Access::ReadOnly}) {
            CHECK(world.prepare(make_prepare({record}, access)).answer.code == ErrorCode::InUse);
        }
    }
    const auto reader = world.prepare(make_prepare({record}, Access::ReadOnly));
    REQUIRE(reader.answer.code == ErrorCode::Ok);
    const auto refused = world.worker.order(OpenImage{.record = record});
    CHECK(refused.answer.code == ErrorCode::InUse);
    CHECK(refused.descriptors.empty());
}

TEST_CASE("a resized copy is taken only if it is what it must be, and until then nothing has changed") {
    World world;
    const auto record = make_volume_record("data", 8 * kMiB, Backend::Image);
    create_volume(world.worker, record);
    write_file(world, record, "file", "kept");
    const auto after = with_size(record, 32 * kMiB);
    auto expected = ErrorCode::Quarantined;
    const fs::path staged = world.installation.state() / "staging" / to_string(record.id) / "image";
    SUBCASE("no file system") {
        const auto reply = world.worker.order(StageVolume{.record = after, .slot_first = kWorkerTestSlot, .image_is_larger = 1});
        REQUIRE(reply.answer.code == ErrorCode::Ok);
        expected = ErrorCode::Internal; // what ext4 says of one that is none
    }
    SUBCASE("not made larger") {
        const auto opened = world.worker.order(OpenImage{.record = record});
        const auto reply = world.worker.order(StageVolume{.record = after, .slot_first = kWorkerTestSlot, .image_is_larger = 1});
        REQUIRE(reply.answer.code == ErrorCode::Ok);
        run_command(copy_arguments(), opened.descriptors[0].get(), reply.descriptors[0].get());
        expected = ErrorCode::Unsupported;
    }
    SUBCASE("cut short") {
        stage_resized(world.worker, record, after);
        fs::resize_file(staged, after.image_bytes / 2);
    }
    SUBCASE("with another link") {
        stage_resized(world.worker, record, after);
        fs::create_hard_link(staged, staged.parent_path() / "another");
    }
    SUBCASE("never staged") {
        expected = ErrorCode::NotFound;
    }
    SUBCASE("the volume is attached again") {
        stage_resized(world.worker, record, after);
        const auto reply = world.prepare(make_prepare({record}, Access::ReadOnly));
        REQUIRE(reply.answer.code == ErrorCode::Ok);
        CHECK(world.worker.order(CommitResize{.record = after}).answer.code == ErrorCode::InUse);
        expected = ErrorCode::InUse;
    }
    if (expected != ErrorCode::InUse) {
        CHECK(world.worker.order(CommitResize{.record = after}).answer.code == expected);
    }
    CHECK(record_of(world.worker, record.id).size_bytes == 8 * kMiB);
    CHECK(fs::file_size(world.installation.volume(record.id) / "image") == record.image_bytes);
    CHECK(world.installation.loops() == 0);
    const auto reply = world.prepare(make_prepare({record}, Access::ReadOnly));
    CHECK(read_as_slot(volume_of(reply), "file") == "kept");
}

TEST_CASE("what is in an image keeps it from becoming too small") {
    World world;
    const auto record = make_volume_record("data", 40 * kMiB, Backend::Image);
    create_volume(world.worker, record);
    write_file(world, record, "file", std::string(30 * kMiB, 'x'));
    CHECK_THROWS(stage_resized(world.worker, record, with_size(record, 16 * kMiB)));
    CHECK(world.worker.order(DiscardStaging{.id = record.id}).answer.code == ErrorCode::Ok);
    const auto reply = world.prepare(make_prepare({record}, Access::ReadOnly));
    CHECK(status_of(open_at(volume_of(reply), "file", O_PATH)).st_size == 30 * static_cast<off_t>(kMiB));
}

TEST_CASE("a new image has exactly the length that its size needs, a resized one at least that") {
    World world;
    auto record = make_volume_record("data", 8 * kMiB, Backend::Image);
    record.image_bytes += 4096;
    CHECK(world.worker.order(StageVolume{.record = record, .slot_first = kWorkerTestSlot}).answer.code == ErrorCode::Unsupported);
    record.image_bytes -= 8192;
    CHECK(world.worker.order(StageVolume{.record = record, .slot_first = kWorkerTestSlot, .image_is_larger = 1}).answer.code ==
          ErrorCode::Unsupported);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
}

TEST_CASE("a crash in a resize may leave an image longer than its record says, and never shorter") {
    World world;
    const auto record = make_volume_record("data", 8 * kMiB, Backend::Image);
    create_volume(world.worker, record);
    const fs::path image = world.installation.volume(record.id) / "image";
    fs::resize_file(image, record.image_bytes + kMiB);
    CHECK(world.worker.load_volumes().at(0).status == VolumeStatus::Available);
    CHECK(world.prepare(make_prepare({record}, Access::ReadWrite)).answer.code == ErrorCode::Ok);
    fs::resize_file(image, record.image_bytes - 1);
    CHECK(world.worker.load_volumes().at(0).status == VolumeStatus::Quarantined);
    CHECK(world.prepare(make_prepare({record}, Access::ReadWrite)).answer.code == ErrorCode::Quarantined);
}

TEST_CASE("a volume that is only tried is made in the trash, and nobody ever has it") {
    World world;
    for (const Backend backend : {Backend::Image, Backend::Tmpfs}) {
        const auto record = make_volume_record("tried", 2 * kMiB, backend);
        const bool image = backend == Backend::Image;
        auto staged = world.worker.order(StageVolume{.record = record, .slot_first = image ? kWorkerTestSlot : 0});
        if (image) {
            run_command(mkfs_arguments(record), staged.descriptors.at(0).get());
        }
        CHECK(world.worker.order(CommitVolume{.record = record, .into_trash = 1}).answer.code == ErrorCode::Ok);
        CHECK(fs::is_empty(world.installation.state() / "volumes"));
        CHECK(fs::exists(world.installation.trashed(record.id) / "record"));
        CHECK(world.prepare(make_prepare({record}, Access::ReadWrite)).answer.code == ErrorCode::NotFound);
        auto order = make_prepare({record}, Access::ReadWrite);
        order.record.kind = static_cast<std::uint32_t>(JobKind::System);
        order.base = NameText(kSystemBase);
        {
            const auto reply = world.prepare(order);
            CHECK(write_as_slot(volume_of(reply), "file", "x"));
        }
        CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok);
        CHECK(fs::is_empty(world.installation.state() / "trash"));
    }
}
