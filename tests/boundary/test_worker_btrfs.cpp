// Volumes that are btrfs subvolumes, on a store that is one; and what is said on a store that is none.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "broker-root/layout.h"
#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;
using protocol::VolumeStatus;

namespace {

struct stat status_at(const fs::path& path) {
    struct stat out{};
    REQUIRE(::lstat(path.c_str(), &out) == 0);
    return out;
}

std::string subvolumes_of(const Installation& installation) {
    return run_command({"btrfs", "subvolume", "list", installation.state().string()});
}

} // namespace

TEST_CASE("a btrfs volume is a subvolume of root's, whose data is the job's, programs and all") {
    World world(StoreKind::Btrfs);
    CHECK(world.worker.btrfs_errno() == 0);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
    CHECK(subvolumes_of(world.installation).empty());
    const auto record = make_volume_record("data", 5 * kMiB, Backend::Btrfs);
    create_volume(world.worker, record, make_labels("a=b"));
    const fs::path subvolume = world.installation.volume(record.id) / "subvolume";
    CHECK(status_at(subvolume).st_ino == 256);
    CHECK(status_at(subvolume).st_uid == 0);
    CHECK((status_at(subvolume).st_mode & 07777U) == 0700);
    CHECK(status_at(subvolume / "data").st_uid == kForeignFirst);
    CHECK(status_at(subvolume / "data").st_gid == kForeignFirst);
    CHECK((status_at(subvolume / "data").st_mode & 07777U) == 0700);

    const auto order = make_prepare({record}, Access::ReadWrite);
    auto reply = world.prepare(order);
    const Fd& data = volume_of(reply);
    CHECK(status_of(data).st_uid == kWorkerTestSlot);
    CHECK((mount_flags(data) & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RDONLY)) == (ST_NOSUID | ST_NODEV));
    CHECK(write_as_slot(data, "file", "kept"));
    CHECK(status_at(subvolume / "data/file").st_uid == kForeignFirst);
    CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);

    WorkerProcess next(world.installation);
    const auto loaded = next.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].status == VolumeStatus::Available);
    CHECK(loaded[0].record.backend == Backend::Btrfs);
    CHECK(loaded[0].labels_size == 3);
    const auto reader = world.prepare(next, make_prepare({record}, Access::ReadOnly));
    CHECK(read_as_slot(volume_of(reader), "file") == "kept");
    CHECK_FALSE(write_as_slot(volume_of(reader), "other", "x"));
    CHECK((mount_flags(volume_of(reader)) & ST_RDONLY) != 0);
}

TEST_CASE("of a btrfs volume the size asked for can be written, and not much more") {
    World world(StoreKind::Btrfs);
    const auto record = make_volume_record("data", 5 * kMiB, Backend::Btrfs);
    create_volume(world.worker, record);
    auto piece = kMiB;
    SUBCASE("in one go") {}
    SUBCASE("in small pieces") {
        piece = 4096;
    }
    SUBCASE("with a limit that somebody has removed") {
        run_command({"btrfs", "qgroup", "limit", "none", (world.installation.volume(record.id) / "subvolume").string()});
    }
    const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
    CHECK(written_as_slot(volume_of(reply), "all", record.size_bytes, piece) == record.size_bytes);
    CHECK(written_as_slot(volume_of(reply), "more", kMiB, 4096) < kMiB / 2);
}

TEST_CASE("a btrfs volume goes to the trash, comes back, and goes for good with all it holds") {
    World world(StoreKind::Btrfs);
    auto record = make_volume_record("data", 5 * kMiB, Backend::Btrfs);
    create_volume(world.worker, record);
    {
        const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
        CHECK(write_as_slot(volume_of(reply), "file", "kept"));
    }
    record.trashed_until_ns = 9;
    CHECK(world.worker.order(TrashVolume{.record = record}).answer.code == ErrorCode::Ok);
    auto loaded = world.worker.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].status == VolumeStatus::Trashed);
    record.name = NameText("again");
    CHECK(world.worker.order(RestoreVolume{.record = record}).answer.code == ErrorCode::Ok);
    {
        const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
        CHECK(read_as_slot(volume_of(reply), "file") == "kept");
    }
    CHECK(world.worker.order(TrashVolume{.record = record}).answer.code == ErrorCode::Ok);
    CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok);
    CHECK(fs::is_empty(world.installation.state() / "trash"));
    CHECK(subvolumes_of(world.installation).empty());
}

TEST_CASE("a subvolume in a volume must be deleted first, and until then nothing is") {
    World world(StoreKind::Btrfs);
    const auto record = make_volume_record("data", 5 * kMiB, Backend::Btrfs);
    create_volume(world.worker, record, make_labels("a=b"));
    const fs::path inner = "subvolume/data/inner";
    run_command({"btrfs", "subvolume", "create", (world.installation.volume(record.id) / inner).string()});
    CHECK(world.worker.order(TrashVolume{.record = record}).answer.code == ErrorCode::Ok);
    const fs::path directory = world.installation.trashed(record.id);
    const auto refused = world.worker.order(EmptyTrash{.id = record.id});
    CHECK(refused.answer.code != ErrorCode::Ok);
    CHECK(refused.answer.step == Step::EmptyTrash);
    CHECK(refused.answer.sys_errno == ENOTEMPTY);
    for (const fs::path& kept : {fs::path("record"), fs::path("labels"), inner}) {
        CHECK(fs::exists(directory / kept));
    }
    CHECK(world.worker.load_volumes().size() == 1);

    // As a system job deletes it: it has what the volume holds, and nothing else.
    auto order = make_prepare({record}, Access::ReadWrite);
    order.record.kind = static_cast<std::uint32_t>(JobKind::System);
    order.base = NameText(kSystemBase);
    const auto reply = world.prepare(order);
    CHECK(open_at(volume_of(reply), "inner", O_PATH).valid());
    run_command({"btrfs", "subvolume", "delete", (directory / inner).string()});
    CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok);
    CHECK(fs::is_empty(world.installation.state() / "trash"));
}

TEST_CASE("what a crash left of a btrfs volume is gone after a restart") {
    World world(StoreKind::Btrfs);
    const auto staged = make_volume_record("staged", 5 * kMiB, Backend::Btrfs);
    REQUIRE(world.worker.order(StageVolume{.record = staged}).answer.code == ErrorCode::Ok);
    auto emptied = make_volume_record("emptied", 5 * kMiB, Backend::Btrfs);
    create_volume(world.worker, emptied);
    REQUIRE(world.worker.order(TrashVolume{.record = emptied}).answer.code == ErrorCode::Ok);
    fs::remove(world.installation.trashed(emptied.id) / "record");
    world.worker.kill_now();
    WorkerProcess next(world.installation);
    const auto loaded = next.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].record.id == emptied.id);
    CHECK(loaded[0].status == VolumeStatus::Trashed);
    CHECK(next.order(EmptyTrash{.id = emptied.id}).answer.code == ErrorCode::Ok);
    CHECK(subvolumes_of(world.installation).empty());
    CHECK(fs::is_empty(world.installation.state() / "staging"));
}

TEST_CASE("a btrfs volume is what its record says, or it is quarantined") {
    World world(StoreKind::Btrfs);
    const auto record = make_volume_record("data", 5 * kMiB, Backend::Btrfs);
    create_volume(world.worker, record);
    const fs::path subvolume = world.installation.volume(record.id) / "subvolume";
    SUBCASE("a directory instead of the subvolume") {
        run_command({"btrfs", "subvolume", "delete", subvolume.string()});
        fs::create_directories(subvolume / "data");
        fs::permissions(subvolume, fs::perms::owner_all);
    }
    SUBCASE("the subvolume is somebody else's") {
        REQUIRE(::chown(subvolume.c_str(), kForeignFirst, kForeignFirst) == 0);
    }
    SUBCASE("the subvolume is open to others") {
        fs::permissions(subvolume, static_cast<fs::perms>(0755));
    }
    SUBCASE("the data is a symbolic link") {
        fs::rename(subvolume / "data", subvolume / "elsewhere");
        fs::create_symlink("elsewhere", subvolume / "data");
    }
    SUBCASE("the data is missing") {
        fs::remove(subvolume / "data");
    }
    const auto loaded = world.worker.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].status == VolumeStatus::Quarantined);
    CHECK(world.prepare(make_prepare({record}, Access::ReadWrite)).answer.code == ErrorCode::Quarantined);
}

TEST_CASE("a store that cannot hold btrfs volumes says what it lacks") {
    const auto record = make_volume_record("data", 5 * kMiB, Backend::Btrfs);
    auto store = StoreKind::Plain;
    int expected = ENOTTY;
    auto step = Step::MakeSubvolume;
    SUBCASE("no btrfs") {}
    SUBCASE("no quotas") {
        store = StoreKind::BtrfsWithoutQuotas;
        expected = ENOTCONN;
        step = Step::LimitSubvolume;
    }
    World world(store);
    CHECK(world.worker.btrfs_errno() == expected);
    const auto refused = world.worker.order(StageVolume{.record = record});
    CHECK(refused.answer.code == ErrorCode::Unsupported);
    CHECK(refused.answer.step == step);
    CHECK(refused.answer.sys_errno == expected);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
}

TEST_CASE("a btrfs volume without its limit is given to no job") {
    World world(StoreKind::Btrfs);
    const auto record = make_volume_record("data", 5 * kMiB, Backend::Btrfs);
    create_volume(world.worker, record);
    run_command({"btrfs", "quota", "disable", world.installation.state().string()});
    const auto refused = world.prepare(make_prepare({record}, Access::ReadWrite));
    CHECK(refused.answer.code == ErrorCode::Unsupported);
    CHECK(refused.answer.step == Step::LimitSubvolume);
    CHECK(refused.answer.sys_errno == ENOTCONN);
}

TEST_CASE("btrfs counts no files, so none can be asked for") {
    World world(StoreKind::Btrfs);
    auto record = make_volume_record("data", 5 * kMiB, Backend::Btrfs);
    record.inodes = 100;
    CHECK(world.worker.order(StageVolume{.record = record}).answer.code == ErrorCode::Unsupported);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
}

TEST_CASE("images and memory are held by a btrfs store as by any other") {
    World world(StoreKind::Btrfs);
    const auto image = make_volume_record("image", 5 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    {
        const auto reply = world.prepare(make_prepare({image}, Access::ReadWrite));
        CHECK(write_as_slot(volume_of(reply), "file", "x"));
    }
    CHECK(world.worker.order(TrashVolume{.record = image}).answer.code == ErrorCode::Ok);
    CHECK(world.worker.order(EmptyTrash{.id = image.id}).answer.code == ErrorCode::Ok);
}
