// Volumes that come to a job that is running, and leave it.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "broker-root/worker/job_files.h"
#include "tests/boundary/worker_job.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;

namespace {

// A job that runs with the volume "first", also at /first.
struct LiveWorld : World {
    VolumeRecord first = make_volume_record("first", 5 * kMiB, Backend::Image);
    PrepareJob order;
    std::unique_ptr<RunningJob> job;

    explicit LiveWorld(OwnedBy owned_by = OwnedBy::Host, StoreKind store = StoreKind::Plain, std::uint32_t flags = 0) : World(store) {
        create_volume(worker, first);
        order = make_prepare({first}, Access::ReadWrite);
        order.record.flags = flags;
        order.volumes[0].target = order.record.targets[0] = TargetText("/first");
        auto reply = prepare(order);
        REQUIRE(reply.answer.code == ErrorCode::Ok);
        job = std::make_unique<RunningJob>(order, std::move(reply), owned_by);
    }

    [[nodiscard]] JobRecord record_now() const {
        const std::string text = read_text(installation.running(order.record.id));
        JobRecord record;
        REQUIRE(text.size() == sizeof record);
        std::memcpy(&record, text.data(), sizeof record);
        return record;
    }
    [[nodiscard]] AttachVolume attaching(const VolumeRecord& volume, Access access = Access::ReadWrite) const {
        AttachVolume out{.record = record_now()};
        out.record.volumes[out.record.volume_count] = volume.id;
        out.record.access[out.record.volume_count] = access;
        out.record.volume_count += 1;
        out.volume = make_mount(volume, access);
        out.slot_first = kWorkerTestSlot;
        return out;
    }
    [[nodiscard]] DetachVolume detaching(const VolumeRecord& volume) const {
        DetachVolume out{.record = record_now(), .name = volume.name, .target = {}};
        auto& record = out.record;
        for (std::size_t i = 0; i < record.volume_count; ++i) {
            if (record.volumes[i] == volume.id) {
                const auto last = --record.volume_count;
                out.target = record.targets[i];
                std::swap(record.volumes[i], record.volumes[last]);
                std::swap(record.access[i], record.access[last]);
                std::swap(record.targets[i], record.targets[last]);
                record.volumes[last] = {};
                record.access[last] = {};
                record.targets[last] = {};
                break;
            }
        }
        return out;
    }
    Answer attach(const AttachVolume& volume, int mount_namespace) {
        const std::array descriptors = {volumes_namespace.get(), mount_namespace};
        return worker.order(volume, descriptors).answer;
    }
    Answer attach(const AttachVolume& volume) {
        return attach(volume, job->mount_namespace().get());
    }
    Answer detach(const DetachVolume& volume) {
        const Fd mount_namespace = job->mount_namespace();
        const int descriptor = mount_namespace.get();
        return worker.order(volume, std::span(&descriptor, 1)).answer;
    }
};

} // namespace

TEST_CASE("a running job gets a volume, and loses it again") {
    auto owned_by = OwnedBy::Host;
    auto store = StoreKind::Plain;
    auto backend = Backend::Image;
    SUBCASE("an image") {}
    SUBCASE("memory") {
        backend = Backend::Tmpfs;
    }
    SUBCASE("a btrfs subvolume") {
        store = StoreKind::Btrfs;
        backend = Backend::Btrfs;
    }
    SUBCASE("in a namespace of another user namespace") {
        owned_by = OwnedBy::UserNamespace;
    }
    SUBCASE("a btrfs subvolume in a namespace of another user namespace") {
        owned_by = OwnedBy::UserNamespace;
        store = StoreKind::Btrfs;
        backend = Backend::Btrfs;
    }
    LiveWorld world(owned_by, store);
    const auto late = make_volume_record("late", 5 * kMiB, backend);
    create_volume(world.worker, late);
    world.worker.load_jobs(); // answered when the one before is over
    const auto descriptors = open_descriptors(world.worker.pid());
    const std::string own_mounts = read_text("/proc/" + std::to_string(world.worker.pid()) + "/mountinfo");

    CHECK(world.job->mounts_at("/volumes/first") == 1);
    CHECK(world.job->mounts_at("/first") == 1);
    const auto attached = world.attach(world.attaching(late));
    CHECK(attached.code == ErrorCode::Ok);
    CHECK(world.job->mounts_at("/volumes/late") == 1);
    CHECK(world.record_now().volume_count == 2);
    CHECK(world.record_now().volumes[1] == late.id);
    {
        const Fd there = world.job->open("volumes/late");
        CHECK(write_as_slot(there, "file", "x"));
        CHECK((mount_flags(there) & (ST_NOSUID | ST_NODEV | ST_NOEXEC)) == (ST_NOSUID | ST_NODEV));
    }
    const auto detached = world.detach(world.detaching(late));
    CHECK(detached.code == ErrorCode::Ok);
    CHECK(world.job->mounts_at("/volumes/late") == 0);
    CHECK_FALSE(world.job->has("volumes/late"));
    CHECK(world.record_now().volume_count == 1);
    CHECK(world.installation.loops() == 1);

    CHECK(world.detach(world.detaching(world.first)).code == ErrorCode::Ok);
    CHECK(world.job->mounts_at("/volumes/first") == 0);
    CHECK(world.job->mounts_at("/first") == 0);
    CHECK(world.job->has("first")); // a directory of the root
    CHECK(world.record_now().volume_count == 0);
    CHECK(world.installation.loops() == 0);
    CHECK(world.detach(world.detaching(world.first)).code == ErrorCode::Ok); // what is not mounted is no error

    CHECK(world.attach(world.attaching(late, Access::ReadOnly)).code == ErrorCode::Ok); // again, in another way
    CHECK((mount_flags(world.job->open("volumes/late")) & ST_RDONLY) != 0);
    world.worker.load_jobs();
    CHECK(open_descriptors(world.worker.pid()) == descriptors);
    CHECK(read_text("/proc/" + std::to_string(world.worker.pid()) + "/mountinfo") == own_mounts);
    world.job.reset();
    CHECK(world.finish(world.order.record.id, {}).answer.code == ErrorCode::Ok);
    CHECK(world.installation.loops() == 0);
}

TEST_CASE("what comes to a job with a log is in its record as a running job alone") {
    LiveWorld world(OwnedBy::Host, StoreKind::Plain, kJobHasLog);
    const auto late = make_volume_record("late", kMiB, Backend::Tmpfs);
    create_volume(world.worker, late);
    const fs::path copy = world.installation.ended(world.order.record.id) / "record";
    const std::string as_prepared = read_text(copy);
    CHECK(as_prepared == read_text(world.installation.running(world.order.record.id)));
    CHECK(world.attach(world.attaching(late)).code == ErrorCode::Ok);
    CHECK(world.record_now().volume_count == 2);
    CHECK(world.record_now().flags == kJobHasLog);
    CHECK(read_text(copy) == as_prepared);
    CHECK(world.detach(world.detaching(world.first)).code == ErrorCode::Ok);
    CHECK(world.record_now().volume_count == 1);
    CHECK(read_text(copy) == as_prepared);
}

TEST_CASE("a detached volume that is still open is in use, and the job's end does not wait for it") {
    LiveWorld world;
    Fd held = world.job->open("volumes/first");
    REQUIRE(held.valid());
    CHECK(world.detach(world.detaching(world.first)).code == ErrorCode::Ok);
    CHECK(world.job->mounts_at("/volumes/first") == 0);
    CHECK(world.worker.order(TrashVolume{.record = world.first}).answer.code == ErrorCode::InUse);
    CHECK(write_as_slot(held, "file", "read on, write on"));
    world.job.reset();
    CHECK(world.finish(world.order.record.id, {}).answer.code == ErrorCode::Ok);
    held.reset();
    CHECK(world.installation.loops() == 0);
}

TEST_CASE("a volume that cannot be attached leaves the job's record and mounts as they were") {
    LiveWorld world;
    auto late = make_volume_record("late", 5 * kMiB, Backend::Image);
    create_volume(world.worker, late);
    auto order = world.attaching(late);
    Answer refused;
    SUBCASE("there is none of that id") {
        order.record.volumes[1] = order.volume.id = make_random_id<VolumeId>();
        refused = world.attach(order);
        CHECK(refused.code == ErrorCode::NotFound);
        CHECK(refused.step == Step::OpenVolume);
    }
    SUBCASE("another job has it") {
        const auto other = world.prepare(make_prepare({late}, Access::ReadWrite));
        REQUIRE(other.answer.code == ErrorCode::Ok);
        refused = world.attach(order);
        CHECK(refused.code == ErrorCode::InUse);
    }
    SUBCASE("one of that name is mounted there") {
        const auto same_name = make_volume_record("first", kMiB, Backend::Tmpfs);
        create_volume(world.worker, same_name);
        refused = world.attach(world.attaching(same_name));
        CHECK(refused.code == ErrorCode::Conflict);
        CHECK(refused.step == Step::AttachVolume);
        CHECK(refused.sys_errno == EEXIST);
    }
    SUBCASE("what came with it is another namespace") {
        const Fd wrong(::open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
        refused = world.attach(order, wrong.get());
        CHECK(refused.step == Step::AttachVolume);
        CHECK(refused.sys_errno == EINVAL);
    }
    SUBCASE("what came with it is a process, whose namespace it would be") {
        const Fd wrong(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
        refused = world.attach(order, wrong.get());
        CHECK(refused.step == Step::AttachVolume);
        CHECK(refused.sys_errno == EINVAL);
    }
    SUBCASE("there are no volumes in that namespace") {
        const auto bare = world.prepare(make_prepare({}, Access::ReadWrite));
        const Fd template_alone(::fcntl(bare.descriptors[kTemplate].get(), F_DUPFD_CLOEXEC, 0));
        refused = world.attach(order, template_alone.get());
        CHECK(refused.step == Step::AttachVolume);
        CHECK(refused.sys_errno == EROFS);
    }
    CHECK(refused.code != ErrorCode::Ok);
    CHECK(world.record_now().volume_count == 1);
    CHECK(world.record_now().volumes[0] == world.first.id);
    CHECK(world.job->mounts_at("/volumes/first") == 1);
    CHECK_FALSE(world.job->has("volumes/late"));
    CHECK(world.installation.loops() == 1);
    CHECK(world.attach(world.attaching(late)).code == ErrorCode::Ok); // now it can
}

TEST_CASE("a directory that was left in the job's volumes is used again") {
    LiveWorld world;
    const auto late = make_volume_record("late", kMiB, Backend::Tmpfs);
    create_volume(world.worker, late);
    REQUIRE(::mkdirat(world.job->open("volumes").get(), "late", 0700) == 0);
    CHECK(world.attach(world.attaching(late)).code == ErrorCode::Ok);
    CHECK(world.job->mounts_at("/volumes/late") == 1);
}

TEST_CASE("a job without a record gets nothing and loses nothing") {
    LiveWorld world;
    const auto late = make_volume_record("late", kMiB, Backend::Tmpfs);
    create_volume(world.worker, late);
    const auto attaching = world.attaching(late);
    const auto detaching = world.detaching(world.first);
    fs::remove(world.installation.running(world.order.record.id));
    CHECK(world.attach(attaching).code == ErrorCode::NotFound);
    CHECK(world.detach(detaching).code == ErrorCode::NotFound);
    CHECK_FALSE(fs::exists(world.installation.running(world.order.record.id)));
    CHECK(world.job->mounts_at("/volumes/first") == 1);
}

TEST_CASE("as many volumes as a job may have come to it one by one, with names as long as they may be") {
    LiveWorld world;
    REQUIRE(world.detach(world.detaching(world.first)).code == ErrorCode::Ok);
    std::vector<VolumeRecord> all;
    for (std::size_t i = 0; i < protocol::kJobVolumesMax; ++i) {
        std::string name(kNameMax, 'x');
        name[0] = static_cast<char>('a' + i);
        all.push_back(make_volume_record(name.c_str(), kMiB, Backend::Tmpfs));
        create_volume(world.worker, all.back());
        CHECK(world.attach(world.attaching(all.back())).code == ErrorCode::Ok);
        CHECK(world.job->mounts_at("/volumes/" + name) == 1);
    }
    CHECK(world.record_now().volume_count == protocol::kJobVolumesMax);
    for (const auto& volume : all) {
        CHECK(world.detach(world.detaching(volume)).code == ErrorCode::Ok);
    }
    CHECK(world.record_now().volume_count == 0);
}
