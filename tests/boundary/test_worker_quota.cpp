// Volumes with a project quota. The suite needs a store that has them, which not every machine can mount: StoreKind::Given.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <ctime>

#include "broker-root/kernel/quota.h"
#include "broker-root/layout.h"
#include "tests/boundary/worker_sizes.h"
#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;
using protocol::VolumeStatus;

namespace {

struct QuotaWorld : World {
    QuotaWorld() : World(StoreKind::Given) {}

    Fd store{::open(installation.state().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};

    [[nodiscard]] kernel::ProjectQuota quota(std::uint32_t id) const {
        const auto found = kernel::project_quota(store.get(), id);
        REQUIRE(found);
        return *found;
    }
};

VolumeRecord make_record(std::uint64_t bytes = 5 * kMiB) {
    return make_volume_record("data", bytes, Backend::ProjectQuota);
}

struct stat status_at(const fs::path& path) {
    struct stat out{};
    REQUIRE(::lstat(path.c_str(), &out) == 0);
    return out;
}

// How many empty files the slot can make.
int files_made(const Fd& mount, int most) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const Fd reading(ends[0]);
    const Fd writing(ends[1]);
    as_user(kWorkerTestSlot, [&] {
        int made = 0;
        while (made < most && open_at(mount, std::to_string(made).c_str(), O_WRONLY | O_CREAT | O_EXCL).valid()) {
            ++made;
        }
        return ::write(writing.get(), &made, sizeof made) == sizeof made ? 0 : 1;
    });
    int made = 0;
    REQUIRE(::read(reading.get(), &made, sizeof made) == sizeof made);
    return made;
}

} // namespace

TEST_SUITE_BEGIN("quota");

TEST_CASE("a volume with a project quota is a directory of root's, whose data is the job's") {
    QuotaWorld world;
    CHECK(world.worker.facts().quota_errno == 0);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
    const auto record = make_record();
    create_volume(world.worker, record, make_labels("a=b"));
    const fs::path project = world.installation.volume(record.id) / "project";
    CHECK(status_at(project).st_uid == 0);
    CHECK((status_at(project).st_mode & 07777U) == 0700);
    CHECK(status_at(project / "data").st_uid == kForeignFirst);
    CHECK((status_at(project / "data").st_mode & 07777U) == 0700);
    for (const fs::path& path : {project, project / "data"}) {
        const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const auto mark = kernel::project_of(directory.get());
        REQUIRE(mark);
        CHECK(mark->id == record.project_id);
        CHECK(mark->is_inherited);
    }
    const Fd outside(::open(project.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    CHECK(kernel::project_of(outside.get())->id == 0); // record and labels do not count

    const auto order = make_prepare({record}, Access::ReadWrite);
    auto reply = world.prepare(order);
    const Fd& data = volume_of(reply);
    CHECK(status_of(data).st_uid == kWorkerTestSlot);
    CHECK((mount_flags(data) & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RDONLY)) == (ST_NOSUID | ST_NODEV));
    CHECK(write_as_slot(data, "file", "kept"));
    CHECK(status_at(project / "data/file").st_uid == kForeignFirst);
    CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);

    WorkerProcess next(world.installation);
    const auto loaded = next.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].status == VolumeStatus::Available);
    CHECK(loaded[0].record.project_id == record.project_id);
    const auto reader = world.prepare(next, make_prepare({record}, Access::ReadOnly));
    CHECK(read_as_slot(volume_of(reader), "file") == "kept");
    CHECK_FALSE(write_as_slot(volume_of(reader), "other", "x"));
}

TEST_CASE("the size that was asked for can be had, and not much more") {
    QuotaWorld world;
    const auto record = make_record();
    create_volume(world.worker, record);
    std::size_t piece = kMiB;
    SUBCASE("in one go") {}
    SUBCASE("in small pieces") {
        piece = 4096;
    }
    SUBCASE("with limits that somebody has removed") {
        REQUIRE(kernel::set_project_limits(world.store.get(), record.project_id, {}));
    }
    const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
    CHECK(written_as_slot(volume_of(reply), "all", record.size_bytes, piece) == record.size_bytes);
    CHECK(written_as_slot(volume_of(reply), "more", kMiB, 4096) < kMiB / 2);
}

TEST_CASE("the number of files that was asked for can be made, and no more") {
    QuotaWorld world;
    auto record = make_record();
    record.inodes = 20;
    create_volume(world.worker, record);
    SUBCASE("as made") {}
    SUBCASE("with limits that somebody has removed") {
        REQUIRE(kernel::set_project_limits(world.store.get(), record.project_id, {}));
    }
    const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
    CHECK(files_made(volume_of(reply), 30) == 20);
}

TEST_CASE("a volume without a number of files is held by its size alone") {
    QuotaWorld world;
    const auto record = make_record();
    create_volume(world.worker, record);
    CHECK(world.quota(record.project_id).limits.inodes == 0);
    const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
    CHECK(files_made(volume_of(reply), 500) == 500);
}

TEST_CASE("the kernel counts it, with the time that is left above a soft limit") {
    QuotaWorld world;
    auto record = make_record(8 * kMiB);
    record.inodes = 100;
    record.soft_size_bytes = 2 * kMiB;
    record.soft_inodes = 10;
    create_volume(world.worker, record);
    const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
    auto usage = measure(world.worker, record).usage;
    CHECK(usage.bytes_limit >= 8 * kMiB);
    CHECK(usage.bytes_limit < 9 * kMiB);
    CHECK(usage.bytes_soft >= 2 * kMiB);
    CHECK(usage.bytes_soft < 3 * kMiB);
    CHECK(usage.inodes_limit == 102);
    CHECK(usage.inodes_soft == 12);
    CHECK(usage.inodes == 2);
    CHECK(usage.bytes_grace_ns == 0);
    CHECK(usage.inodes_grace_ns == 0);
    CHECK(written_as_slot(volume_of(reply), "file", 4 * kMiB, kMiB) == 4 * kMiB);
    CHECK(files_made(volume_of(reply), 20) == 20);
    usage = measure(world.worker, record).usage;
    CHECK(usage.bytes >= 4 * kMiB);
    CHECK(usage.bytes < 5 * kMiB);
    CHECK(usage.inodes == 23);
    const std::int64_t now = std::time(nullptr) * 1'000'000'000LL;
    constexpr std::int64_t kMonth = 31LL * 24 * 3600 * 1'000'000'000;
    CHECK(usage.bytes_grace_ns > now);
    CHECK(usage.bytes_grace_ns < now + kMonth);
    CHECK(usage.inodes_grace_ns > now);
    CHECK(usage.inodes_grace_ns < now + kMonth);
}

TEST_CASE("its limits change in place, while a job has it, but not to less than is used") {
    QuotaWorld world;
    auto record = make_record(4 * kMiB);
    record.inodes = 10;
    create_volume(world.worker, record);
    const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
    CHECK(written_as_slot(volume_of(reply), "a", 3 * kMiB, kMiB) == 3 * kMiB);
    record.size_bytes = 10 * kMiB;
    record.inodes = 20;
    CHECK(resize(world.worker, record).answer.code == ErrorCode::Ok);
    CHECK(written_as_slot(volume_of(reply), "b", 6 * kMiB, kMiB) == 6 * kMiB);
    CHECK(files_made(volume_of(reply), 30) == 18);

    auto smaller = record;
    SUBCASE("bytes") {
        smaller.size_bytes = 8 * kMiB;
    }
    SUBCASE("files") {
        smaller.inodes = 15;
    }
    const auto refused = resize(world.worker, smaller);
    CHECK(refused.answer.code == ErrorCode::LimitExceeded);
    CHECK(refused.usage.bytes >= 9 * kMiB);
    CHECK(refused.usage.inodes == 22);
    CHECK(refused.usage.inodes_limit == 22);
    CHECK(refused.usage.bytes_limit >= 10 * kMiB);
    CHECK(record_of(world.worker, record.id).size_bytes == 10 * kMiB);
    CHECK(record_of(world.worker, record.id).inodes == 20);

    record.inodes = 0;
    record.soft_size_bytes = (9 * kMiB) + (kMiB / 2);
    CHECK(resize(world.worker, record).answer.code == ErrorCode::Ok);
    CHECK(world.quota(record.project_id).limits.inodes == 0);
    CHECK(record_of(world.worker, record.id).soft_size_bytes == record.soft_size_bytes);
    WorkerProcess next(world.installation);
    CHECK(next.load_volumes().at(0).status == VolumeStatus::Available);
}

TEST_CASE("a project id that has anything already is refused, and what is there stays") {
    QuotaWorld world;
    const auto first = make_record();
    create_volume(world.worker, first);
    auto second = make_record();
    second.project_id = first.project_id;
    SUBCASE("another volume's") {}
    SUBCASE("limits of nobody") {
        second.project_id = kProjectLast - 1000;
        REQUIRE(kernel::set_project_limits(world.store.get(), second.project_id, {.bytes = kMiB}));
    }
    const auto before = world.quota(second.project_id);
    const auto refused = world.worker.order(StageVolume{.record = second});
    CHECK(refused.answer.code == ErrorCode::Conflict);
    CHECK(refused.answer.sys_errno == EEXIST);
    CHECK(refused.answer.step == Step::SetQuota);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
    CHECK(world.quota(second.project_id).limits == before.limits);
    if (second.project_id != first.project_id) {
        REQUIRE(kernel::set_project_limits(world.store.get(), second.project_id, {}));
    }
}

TEST_CASE("what is in it is deleted from inside first, then it goes and nothing of its project is left") {
    QuotaWorld world;
    auto record = make_record();
    create_volume(world.worker, record);
    {
        const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
        CHECK(write_as_slot(volume_of(reply), "file", "kept"));
    }
    record.trashed_until_ns = 9;
    CHECK(world.worker.order(TrashVolume{.record = record}).answer.code == ErrorCode::Ok);
    CHECK(world.worker.order(RestoreVolume{.record = record}).answer.code == ErrorCode::Ok);
    {
        const auto reply = world.prepare(make_prepare({record}, Access::ReadOnly));
        CHECK(read_as_slot(volume_of(reply), "file") == "kept");
    }
    CHECK(world.worker.order(TrashVolume{.record = record}).answer.code == ErrorCode::Ok);
    const auto limits = world.quota(record.project_id).limits;
    const auto refused = world.worker.order(EmptyTrash{.id = record.id});
    CHECK(refused.answer.step == Step::EmptyTrash);
    CHECK(refused.answer.sys_errno == ENOTEMPTY);
    CHECK(fs::exists(world.installation.trashed(record.id) / "record"));
    CHECK(world.quota(record.project_id).limits == limits);

    auto order = make_prepare({record}, Access::ReadWrite);
    order.record.kind = static_cast<std::uint32_t>(JobKind::System);
    order.base = NameText(kSystemBase);
    auto reply = world.prepare(order);
    CHECK(as_user(kWorkerTestSlot, [&] { return ::unlinkat(volume_of(reply).get(), "file", 0); }) == 0);
    reply.descriptors.clear();
    CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok);
    CHECK(fs::is_empty(world.installation.state() / "trash"));
    CHECK(world.quota(record.project_id).is_nothing());
}

TEST_CASE("what a job still has open of a volume that was deleted under it keeps its limit") {
    QuotaWorld world;
    const auto record = make_record();
    create_volume(world.worker, record);
    const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
    CHECK(write_as_slot(volume_of(reply), "file", "x"));
    Fd open = open_at(volume_of(reply), "file", O_WRONLY);
    CHECK(as_user(kWorkerTestSlot, [&] { return ::unlinkat(volume_of(reply).get(), "file", 0); }) == 0);
    CHECK(world.worker.order(TrashVolume{.record = record, .forced = 1}).answer.code == ErrorCode::Ok);
    CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok);
    CHECK(world.quota(record.project_id).limits.bytes != 0);
    CHECK(world.worker.order(StageVolume{.record = record}).answer.code == ErrorCode::Conflict);
    open.reset();
}

TEST_CASE("what a crash left of such a volume is gone after a restart, its limits too") {
    QuotaWorld world;
    const auto record = make_record();
    REQUIRE(world.worker.order(StageVolume{.record = record}).answer.code == ErrorCode::Ok);
    CHECK(world.quota(record.project_id).limits.bytes != 0);
    world.worker.kill_now();
    WorkerProcess next(world.installation);
    CHECK(next.load_volumes().empty());
    CHECK(fs::is_empty(world.installation.state() / "staging"));
    CHECK(world.quota(record.project_id).is_nothing());
}

TEST_CASE("a volume with a project quota is what its record says, or it is quarantined") {
    QuotaWorld world;
    const auto record = make_record();
    create_volume(world.worker, record);
    const fs::path project = world.installation.volume(record.id) / "project";
    SUBCASE("another project id") {
        const Fd directory(::open(project.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(kernel::set_project(directory.get(), kProjectLast - 5));
    }
    SUBCASE("no project id") {
        fs::remove_all(project);
        fs::create_directories(project / "data");
        fs::permissions(project, fs::perms::owner_all);
        REQUIRE(::chown((project / "data").c_str(), kForeignFirst, kForeignFirst) == 0);
    }
    SUBCASE("the directory is somebody else's") {
        REQUIRE(::chown(project.c_str(), kForeignFirst, kForeignFirst) == 0);
    }
    SUBCASE("the directory is open to others") {
        fs::permissions(project, static_cast<fs::perms>(0755));
    }
    SUBCASE("the data is root's") {
        REQUIRE(::chown((project / "data").c_str(), 0, 0) == 0);
    }
    SUBCASE("the data is missing") {
        fs::remove(project / "data");
    }
    CHECK(world.worker.load_volumes().at(0).status == VolumeStatus::Quarantined);
    CHECK(world.prepare(make_prepare({record}, Access::ReadWrite)).answer.code != ErrorCode::Ok);
}

TEST_CASE("the rows of projects can be gone through, from any id on") {
    QuotaWorld world;
    std::vector<std::uint32_t> expected;
    for (std::uint32_t i = 0; i < 3; ++i) {
        auto record = make_record((i + 2) * kMiB);
        record.project_id = kProjectFirst + 0x200000 + i * 7;
        create_volume(world.worker, record);
        expected.push_back(record.project_id);
    }
    std::vector<std::uint32_t> found;
    for (std::uint32_t from = expected.front(); from <= expected.back();) {
        const auto row = kernel::next_project_quota(world.store.get(), from);
        REQUIRE(row);
        if (!*row || (*row)->id > expected.back()) {
            break;
        }
        CHECK((*row)->quota.limits.bytes >= (found.size() + 2) * kMiB);
        found.push_back((*row)->id);
        from = (*row)->id + 1;
    }
    CHECK(found == expected);
    const auto after = kernel::next_project_quota(world.store.get(), kProjectLast);
    REQUIRE(after);
    CHECK_FALSE(after->has_value());
}

TEST_SUITE_END();

TEST_CASE("a store without project quotas says what it lacks, and leaves nothing behind") {
    auto store = StoreKind::Plain;
    SUBCASE("any") {}
    SUBCASE("btrfs") {
        store = StoreKind::Btrfs;
    }
    World world(store);
    const int lacking = world.worker.facts().quota_errno;
    CAPTURE(lacking);
    CHECK((lacking == ENOTTY || lacking == EOPNOTSUPP || lacking == ESRCH || lacking == ENOSYS));
    const auto refused = world.worker.order(StageVolume{.record = make_record()});
    CHECK(refused.answer.code == ErrorCode::Unsupported);
    CHECK(refused.answer.step == Step::SetQuota);
    CHECK(refused.answer.sys_errno == lacking);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
}
