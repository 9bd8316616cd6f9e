// The life of a volume on disk: staged, committed, loaded, updated, trashed.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <set>

#include "broker-root/worker/image_geometry.h"
#include "broker-root/worker/record.h"
#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;
using protocol::VolumeStatus;

TEST_CASE("an image is preallocated, the slot's while it is being made, root's when it is committed") {
    World world;
    const auto record = make_volume_record("data", 40 * kMiB, Backend::Image);
    auto staged = world.worker.order(StageVolume{.record = record, .slot_first = kWorkerTestSlot});
    REQUIRE(staged.answer.code == ErrorCode::Ok);
    REQUIRE(staged.descriptors.size() == 1);
    auto image = status_of(staged.descriptors[0]);
    CHECK(image.st_uid == kWorkerTestSlot);
    CHECK(image.st_gid == kWorkerTestSlot);
    CHECK((image.st_mode & 07777U) == 0600);
    CHECK(static_cast<std::uint64_t>(image.st_size) == record.image_bytes);
    CHECK(static_cast<std::uint64_t>(image.st_blocks) * 512 >= record.image_bytes);
    CHECK((::fcntl(staged.descriptors[0].get(), F_GETFL) & O_ACCMODE) == O_RDWR);
    run_command(mkfs_arguments(record), staged.descriptors[0].get());

    const auto labels = make_labels("a=b");
    const auto committed = world.worker.order(CommitVolume{.record = record, .labels_size = labels.size, .labels = labels.bytes});
    CHECK(committed.answer.code == ErrorCode::Ok);
    CHECK(committed.descriptors.empty());
    image = status_of(staged.descriptors[0]);
    CHECK(image.st_uid == 0);
    CHECK((image.st_mode & 07777U) == 0600);
    CHECK(static_cast<std::uint64_t>(image.st_blocks) * 512 >= record.image_bytes);
    CHECK(world.installation.loops() == 0);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
    CHECK(fs::status(world.installation.volume(record.id)).permissions() == fs::perms::owner_all);
    CHECK(read_text(world.installation.volume(record.id) / "labels").starts_with("a=b"));

    const auto loaded = world.worker.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].status == VolumeStatus::Available);
    CHECK(loaded[0].record.id == record.id);
    CHECK(loaded[0].record.name == record.name);
    CHECK(loaded[0].labels_size == labels.size);
    CHECK(loaded[0].labels == labels.bytes);
    const std::string root = run_command({"debugfs", "-R", "stat /", (world.installation.volume(record.id) / "image").string()});
    CHECK(root.find("User: 2147352576   Group: 2147352576") != std::string::npos);
    CHECK(root.find("Mode:  0700") != std::string::npos);
}

TEST_CASE("what cannot be made leaves nothing behind") {
    World world;
    SUBCASE("no room in the store") {
        const auto record = make_volume_record("big", std::uint64_t{8} << 40U, Backend::Image);
        const auto staged = world.worker.order(StageVolume{.record = record, .slot_first = kWorkerTestSlot});
        CHECK(staged.answer.code == ErrorCode::OutOfSpace);
        CHECK(staged.answer.step == Step::AllocateImage);
        CHECK(staged.answer.sys_errno == ENOSPC);
    }
    SUBCASE("larger than any ext4 here") {
        const auto record = make_volume_record("big", std::uint64_t{1} << 50U, Backend::Image);
        CHECK(record.image_bytes == 0);
        const auto staged = world.worker.order(StageVolume{.record = record, .slot_first = kWorkerTestSlot});
        CHECK(staged.answer.code == ErrorCode::Unsupported);
    }
    SUBCASE("a size that is not the geometry's") {
        auto record = make_volume_record("odd", 4 * kMiB, Backend::Image);
        record.image_bytes += 4096;
        const auto staged = world.worker.order(StageVolume{.record = record, .slot_first = kWorkerTestSlot});
        CHECK(staged.answer.code == ErrorCode::Unsupported);
    }
    CHECK(fs::is_empty(world.installation.state() / "staging"));
}

TEST_CASE("an image that mkfs did not make is not committed, and can be discarded") {
    World world;
    const auto record = make_volume_record("data", 4 * kMiB, Backend::Image);
    auto staged = world.worker.order(StageVolume{.record = record, .slot_first = kWorkerTestSlot});
    REQUIRE(staged.answer.code == ErrorCode::Ok);
    auto expected_step = Step::MountVolume;
    SUBCASE("nothing was written") {}
    SUBCASE("a smaller file system than asked for") {
        auto words = mkfs_arguments(record);
        words.back() = std::to_string(std::stoul(words.back()) - 100);
        run_command(words, staged.descriptors[0].get());
        expected_step = Step::CheckUsableSize;
    }
    SUBCASE("the file was cut") {
        REQUIRE(::ftruncate(staged.descriptors[0].get(), 4096) == 0);
        expected_step = Step::MakeFilesystem;
    }
    const auto committed = world.worker.order(CommitVolume{.record = record});
    CHECK(committed.answer.code != ErrorCode::Ok);
    CHECK(committed.answer.step == expected_step);
    CHECK(fs::is_empty(world.installation.state() / "volumes"));
    CHECK(world.installation.loops() == 0);
    CHECK(world.worker.order(DiscardStaging{.id = record.id}).answer.code == ErrorCode::Ok);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
    CHECK(world.worker.order(DiscardStaging{.id = record.id}).answer.code == ErrorCode::Ok); // a second time, after a restart
}

TEST_CASE("the record of a volume is replaced") {
    World world;
    auto record = make_volume_record("data", 5 * kMiB, Backend::Image);
    create_volume(world.worker, record);
    record.last_used_ns = 77;
    record.generation = 2;
    for (const std::uint32_t durable : {0U, 1U}) {
        CHECK(world.worker.order(UpdateRecord{.record = record, .durable = durable}).answer.code == ErrorCode::Ok);
    }
    auto loaded = world.worker.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].record.last_used_ns == 77);
    CHECK(loaded[0].status == VolumeStatus::Available);
    auto missing = record;
    missing.id = make_random_id<VolumeId>();
    CHECK(world.worker.order(UpdateRecord{.record = missing, .durable = 1}).answer.code == ErrorCode::NotFound);
}

TEST_CASE("case_10: a volume is what its record says, or it is quarantined") {
    World world;
    const auto record = make_volume_record("data", 2 * kMiB, Backend::Image);
    create_volume(world.worker, record);
    const fs::path directory = world.installation.volume(record.id);
    bool readable = true;
    SUBCASE("a bit of the record flipped") {
        std::string text = read_text(directory / "record");
        text[100] ^= 1;
        write_text(directory / "record", text);
        readable = false;
    }
    SUBCASE("the record is longer") {
        write_text(directory / "record", read_text(directory / "record") + "x");
        readable = false;
    }
    SUBCASE("the record of another volume") {
        auto other = record;
        other.id = make_random_id<VolumeId>();
        REQUIRE(start_checksums());
        seal(other);
        write_text(directory / "record", {reinterpret_cast<const char*>(&other), sizeof other});
        readable = false;
    }
    SUBCASE("a newer version") {
        auto newer = record;
        newer.version = kVolumeRecordVersion + 1;
        REQUIRE(start_checksums());
        seal(newer);
        write_text(directory / "record", {reinterpret_cast<const char*>(&newer), sizeof newer});
        readable = false;
    }
    SUBCASE("the record is a symbolic link") {
        fs::rename(directory / "record", directory / "elsewhere");
        fs::create_symlink("elsewhere", directory / "record");
        readable = false;
    }
    SUBCASE("the directory is a symbolic link") {
        fs::rename(directory, world.installation.root() / "elsewhere");
        fs::create_symlink(world.installation.root() / "elsewhere", directory);
        readable = false;
    }
    SUBCASE("the directory is open to others") {
        fs::permissions(directory, static_cast<fs::perms>(0755));
        readable = false;
    }
    SUBCASE("the directory is somebody else's") {
        REQUIRE(::chown(directory.c_str(), 1000, 1000) == 0);
        readable = false;
    }
    SUBCASE("the image is a symbolic link") {
        fs::rename(directory / "image", directory / "elsewhere");
        fs::create_symlink("elsewhere", directory / "image");
    }
    SUBCASE("the image has a second name") {
        fs::create_hard_link(directory / "image", directory / "elsewhere");
    }
    SUBCASE("the image is shorter") {
        fs::resize_file(directory / "image", 4096);
    }
    SUBCASE("the image is missing") {
        fs::remove(directory / "image");
    }
    const auto loaded = world.worker.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].status == VolumeStatus::Quarantined);
    CHECK(loaded[0].record.id == record.id);
    CHECK((loaded[0].record.size_bytes == record.size_bytes) == readable);
    if (readable) {
        CHECK(world.prepare(make_prepare({record}, Access::ReadWrite)).answer.step == Step::OpenVolume);
        CHECK(world.installation.loops() == 0);
    }
}

TEST_CASE("what a crash left in staging is gone after a restart, whatever else is there is not") {
    World world;
    const auto half = make_volume_record("half", 2 * kMiB, Backend::Image);
    REQUIRE(world.worker.order(StageVolume{.record = half, .slot_first = kWorkerTestSlot}).answer.code == ErrorCode::Ok);
    world.worker.kill_now();
    write_text(world.installation.state() / "staging/notes", "x");
    write_text(world.installation.state() / "volumes/notes", "x");
    WorkerProcess next(world.installation);
    CHECK(next.load_volumes().empty());
    CHECK_FALSE(fs::exists(world.installation.state() / "staging" / to_string(half.id)));
    CHECK(fs::exists(world.installation.state() / "staging/notes"));
}

TEST_CASE("many volumes come in many answers") {
    World world;
    std::set<VolumeId> made;
    for (std::size_t i = 0; i < kVolumesPerAnswer * 2; ++i) {
        const auto record = make_volume_record(std::to_string(i).c_str(), kMiB, Backend::Tmpfs);
        create_volume(world.worker, record);
        made.insert(record.id);
    }
    std::set<VolumeId> loaded;
    for (const auto& volume : world.worker.load_volumes()) {
        loaded.insert(volume.record.id);
    }
    CHECK(loaded == made);
}
