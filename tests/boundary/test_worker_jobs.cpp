// What a job is given: templates, mounts, files; and what is taken away again.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <set>

#include "broker-root/worker/templates.h"
#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;

TEST_CASE("a job gets its world, and what it leaves is removed") {
    World world;
    const std::string host_mounts = read_text("/proc/self/mountinfo");
    const auto image = make_volume_record("data", 5 * kMiB, Backend::Image);
    const auto memory = make_volume_record("scratch", 3 * kMiB, Backend::Tmpfs);
    create_volume(world.worker, image);
    create_volume(world.worker, memory);
    auto order = make_prepare({image, memory}, Access::ReadWrite);
    order.volumes[0].target = order.record.targets[0] = TargetText("/data/deep");
    auto reply = world.prepare(order);
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    REQUIRE(reply.descriptors.size() == kPreparedFixed + 2);
    CHECK(world.installation.loops() == 1);

    const int status = in_namespace(reply.descriptors[kTemplate].get(), [] {
        struct stat at{};
        struct statvfs fs{};
        std::set<std::string> names;
        for (const auto& entry : fs::directory_iterator("/")) {
            names.insert(entry.path().filename().string());
        }
        int failed = 1;
        const auto check = [&failed](bool good) {
            if (!good) {
                ::_exit(failed);
            }
            ++failed;
        };
        check(names == std::set<std::string>{"bin", "usr", "lib", "etc", "proc", "dev", "tmp", "work", "volumes", "data"});
        check(::stat("/data/deep", &at) == 0 && S_ISDIR(at.st_mode) && (at.st_mode & 07777U) == 0755 && at.st_uid == 0);
        check(read_text("/etc/of-base") == "hello" && read_text("/bin/tool") == "x");
        check(::mkdir("/new", 0755) != 0 && errno == EROFS);
        check(::mkdir("/etc/new", 0755) != 0 && errno == EROFS);
        check(::mkdir("/dev/new", 0755) != 0 && errno == EROFS);
        check(::statvfs("/usr", &fs) == 0 && (fs.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV)) == (ST_RDONLY | ST_NOSUID | ST_NODEV));
        check(::statvfs("/", &fs) == 0 && (fs.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV)) == (ST_RDONLY | ST_NOSUID | ST_NODEV));
        check(::statvfs("/dev", &fs) == 0 && (fs.f_flag & (ST_RDONLY | ST_NOSUID | ST_NOEXEC)) == (ST_RDONLY | ST_NOSUID | ST_NOEXEC));
        check(::stat("/dev/null", &at) == 0 && S_ISCHR(at.st_mode) && at.st_rdev == makedev(1, 3) && (at.st_mode & 0777U) == 0666);
        check(::stat("/dev/tty", &at) == 0 && at.st_rdev == makedev(5, 0));
        check(::stat("/dev/shm", &at) == 0 && ::stat("/dev/pts", &at) == 0 && ::lstat("/dev/fd", &at) == 0 && S_ISLNK(at.st_mode));
        std::array<char, 8> cwd{};
        check(::getcwd(cwd.data(), cwd.size()) != nullptr && std::string_view(cwd.data()) == "/");
        return 0;
    });
    CHECK(status == 0);

    const auto check_tmpfs = [&](PreparedDescriptor which, std::uint64_t bytes, mode_t mode, std::uint32_t uid, unsigned long flags) {
        const Fd& mount = reply.descriptors[which];
        struct statfs space{};
        REQUIRE(::fstatfs(mount.get(), &space) == 0);
        CHECK(space.f_blocks * static_cast<std::uint64_t>(space.f_bsize) == bytes);
        CHECK((status_of(mount).st_mode & 07777U) == mode);
        CHECK(status_of(mount).st_uid == uid);
        CHECK((mount_flags(mount) & flags) == flags);
    };
    check_tmpfs(kVolumesMount, 65536, 0755, 0, ST_NOSUID | ST_NODEV | ST_NOEXEC);
    check_tmpfs(kWorkMount, order.work_bytes, 0700, kWorkerTestSlot, ST_NOSUID | ST_NODEV);
    check_tmpfs(kTmpMount, order.tmp_bytes, 01777, kWorkerTestSlot, ST_NOSUID | ST_NODEV);
    check_tmpfs(kShmMount, order.shm_bytes, 01777, kWorkerTestSlot, ST_NOSUID | ST_NODEV);
    CHECK(open_at(reply.descriptors[kVolumesMount], "data", O_PATH).valid());
    CHECK(open_at(reply.descriptors[kVolumesMount], "scratch", O_PATH).valid());
    CHECK((status_of(open_at(reply.descriptors[kPtsMount], "ptmx", O_PATH)).st_mode & 0777U) == 0666);

    // An idmap by the right namespace: the slot's on the mount, the foreign range's on disk.
    const Fd& data = volume_of(reply, 0);
    CHECK(status_of(data).st_uid == kWorkerTestSlot);
    CHECK((mount_flags(data) & (ST_NOSUID | ST_NODEV | ST_RDONLY)) == (ST_NOSUID | ST_NODEV));
    CHECK(write_as_slot(data, "file", "of the job"));
    const Fd& scratch = volume_of(reply, 1);
    CHECK(status_of(scratch).st_uid == kWorkerTestSlot);
    CHECK((status_of(scratch).st_mode & 07777U) == 0700);
    CHECK((mount_flags(scratch) & (ST_NOSUID | ST_NODEV)) == (ST_NOSUID | ST_NODEV));
    CHECK(write_as_slot(scratch, "file", "x"));

    CHECK((::fcntl(reply.descriptors[kExitRecord].get(), F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_RDWR | O_APPEND));
    CHECK(fs::file_size(world.installation.ended(order.record.id) / "exit") == 0);
    CHECK(fs::exists(world.installation.running(order.record.id)));
    CHECK(read_text("/proc/self/mountinfo") == host_mounts);

    CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);
    CHECK(world.installation.loops() == 0);
    CHECK(fs::is_empty(world.installation.root() / "run/joblet/jobs"));
    CHECK(fs::exists(world.installation.ended(order.record.id) / "exit"));
    CHECK(world.worker.order(ReleaseJob{.id = order.record.id}).answer.code == ErrorCode::Ok);
    CHECK(fs::is_empty(world.installation.root() / "opt/joblet/jobs"));
    CHECK(world.worker.order(ReleaseJob{.id = order.record.id}).answer.code == ErrorCode::Ok);
    const std::string file = run_command({"debugfs", "-R", "stat /file", (world.installation.volume(image.id) / "image").string()});
    CHECK(file.find("User: 2147352576   Group: 2147352576") != std::string::npos);
}

TEST_CASE("finish waits for the mount, and says so if somebody still holds it") {
    World world;
    const auto image = make_volume_record("data", 5 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    const auto order = make_prepare({image}, Access::ReadWrite);
    auto reply = world.prepare(order);
    Fd kept(::fcntl(volume_of(reply).get(), F_DUPFD_CLOEXEC, 0));
    const auto early = world.finish(order.record.id, std::move(reply.descriptors));
    CHECK(early.answer.code == ErrorCode::InUse);
    CHECK(fs::exists(world.installation.running(order.record.id)));
    kept.reset();
    CHECK(world.finish(order.record.id, {}).answer.code == ErrorCode::Ok);
    CHECK_FALSE(fs::exists(world.installation.running(order.record.id)));
    CHECK(world.finish(order.record.id, {}).answer.code == ErrorCode::Ok);
}

TEST_CASE("jobs that may be alive are listed with what they left") {
    World world;
    std::vector<JobId> ids;
    for (std::size_t i = 0; i < kJobsPerAnswer + 3; ++i) {
        const auto order = make_prepare({}, Access::ReadWrite);
        const auto reply = world.prepare(order);
        REQUIRE(reply.answer.code == ErrorCode::Ok);
        ids.push_back(order.record.id);
        if (i == 0) {
            const ExitRecord record{.magic = kExitMagic, .kind = ExitKind::Exited, .code = 3, .started_ns = 1, .ended_ns = 2};
            REQUIRE(::write(reply.descriptors[kExitRecord].get(), &record, sizeof record) == sizeof record);
        }
    }
    write_text(world.installation.running(ids[1]), "not a record");
    write_text(world.installation.root() / "run/joblet/jobs" / (to_string(ids[2]) + ".new"), "half a rec");
    const auto jobs = world.worker.load_jobs();
    CHECK(jobs.size() == ids.size());
    for (const auto& job : jobs) {
        if (job.record.id == ids[0]) {
            CHECK(job.exit.kind == ExitKind::Exited);
            CHECK(job.exit.code == 3);
        } else {
            CHECK(job.exit.magic == 0);
        }
        CHECK(job.record.owner_uid == (job.record.id == ids[1] ? 0 : 1000));
    }
}

TEST_CASE("a job that exists already is refused and keeps its files") {
    World world;
    const auto order = make_prepare({}, Access::ReadWrite);
    CHECK(world.prepare(order).answer.code == ErrorCode::Ok);
    CHECK(world.prepare(order).answer.code == ErrorCode::Conflict);
    CHECK(fs::exists(world.installation.ended(order.record.id) / "exit"));
    CHECK(fs::exists(world.installation.running(order.record.id)));
}

TEST_CASE("case_02: a base that would lead elsewhere is refused") {
    Installation installation;
    const fs::path base = installation.state() / "bases/minimal";
    SUBCASE("proc is a symbolic link") {
        fs::create_symlink("/etc", base / "proc");
    }
    SUBCASE("dev is a symbolic link") {
        fs::create_directory_symlink("/dev", base / "dev");
    }
    SUBCASE("volumes is a symbolic link") {
        fs::create_directory_symlink("/var", base / "volumes");
    }
    SUBCASE("work is a symbolic link") {
        fs::create_directory_symlink("/root", base / "work");
    }
    SUBCASE("tmp is a symbolic link") {
        fs::create_directory_symlink("usr", base / "tmp");
    }
    SUBCASE("usr is a symbolic link") {
        fs::rename(base / "usr", base / "other");
        fs::create_symlink("other", base / "usr");
    }
    SUBCASE("lib is a symbolic link to something else than usr/lib") {
        fs::remove(base / "lib");
        fs::create_symlink("usr/lib64", base / "lib");
    }
    SUBCASE("volumes is a file") {
        write_text(base / "volumes", "x");
    }
    SUBCASE("there is none") {
        fs::remove_all(base);
    }
    WorkerProcess worker(installation);
    const Fd user_namespace = make_volume_user_namespace(kWorkerTestSlot);
    const int descriptor = user_namespace.get();
    const auto reply = worker.order(make_prepare({}, Access::ReadWrite), std::span(&descriptor, 1));
    CHECK(reply.answer.code == ErrorCode::Unsupported);
    CHECK(reply.answer.step == Step::BuildTemplate);
    CHECK(fs::is_empty(installation.root() / "opt/joblet/jobs"));
}

TEST_CASE("a base that changed after the start is refused") {
    World world;
    world.worker.load_volumes();
    fs::create_symlink("usr/../etc", world.installation.state() / "bases/minimal/sbin");
    CHECK(world.prepare(make_prepare({}, Access::ReadWrite)).answer.step == Step::BuildTemplate);
    fs::remove(world.installation.state() / "bases/minimal/sbin");
    CHECK(world.prepare(make_prepare({}, Access::ReadWrite)).answer.code == ErrorCode::Ok);
}

TEST_CASE("templates are shared by like jobs of one owner, and bounded") {
    World world;
    std::vector<VolumeRecord> volumes;
    const auto memory = make_volume_record("memory", kMiB, Backend::Tmpfs);
    create_volume(world.worker, memory);
    const auto template_of = [&world, &memory](const std::string& target, std::uint32_t owner, JobId* id = nullptr) {
        auto order = make_prepare({memory}, Access::ReadWrite);
        order.volumes[0].target = order.record.targets[0] = TargetText(target);
        order.record.owner_uid = owner;
        auto reply = world.prepare(order);
        REQUIRE(reply.answer.code == ErrorCode::Ok);
        if (id != nullptr) {
            *id = order.record.id;
        }
        return std::move(reply.descriptors[kTemplate]);
    };
    const Fd first = template_of("/a", 1);
    CHECK(status_of(template_of("/a", 1)).st_ino == status_of(first).st_ino);
    CHECK(status_of(template_of("/b", 1)).st_ino != status_of(first).st_ino);
    CHECK(status_of(template_of("/a", 2)).st_ino != status_of(first).st_ino);

    world.worker.load_jobs();
    const std::size_t before = open_descriptors(world.worker.pid()) - 3;
    for (int i = 0; i < 20; ++i) {
        template_of(std::to_string(i).insert(0, "/t"), 1);
    }
    world.worker.load_jobs();
    CHECK(open_descriptors(world.worker.pid()) == before + Templates::kKeptPerOwner + 1);
    for (std::uint32_t owner = 100; owner < 180; ++owner) {
        template_of("/x", owner);
    }
    world.worker.load_jobs();
    CHECK(open_descriptors(world.worker.pid()) == before + Templates::kKept);
}

TEST_CASE("a system job has the host's usr and nothing else") {
    World world;
    auto order = make_prepare({}, Access::ReadWrite);
    order.record.kind = static_cast<std::uint32_t>(JobKind::System);
    order.base = NameText(kSystemBase);
    const auto reply = world.prepare(order);
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    const int status = in_namespace(reply.descriptors[kTemplate].get(), [] {
        return fs::exists("/usr/sbin/mke2fs") && fs::exists("/sbin/mke2fs") && fs::exists("/lib64/ld-linux-x86-64.so.2") &&
                       !fs::exists("/etc") && ::mkdir("/usr/new", 0755) != 0 && errno == EROFS
                   ? 0
                   : 1;
    });
    CHECK(status == 0);
}
