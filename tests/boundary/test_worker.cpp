// joblet-worker over its socket: orders in, answers, disk and mounts out.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>

#include "broker-root/layout.h"
#include "broker-root/worker/image_geometry.h"
#include "broker-root/worker/record.h"
#include "broker-root/worker/templates.h"
#include "tests/boundary/worker_harness.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;
using protocol::VolumeStatus;

namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMiB = 1 << 20U;

struct World {
    Installation installation;
    WorkerProcess worker{installation};
    Fd volumes_namespace = make_volume_user_namespace(kWorkerTestSlot);

    WorkerProcess::Reply prepare(const PrepareJob& order) {
        return prepare(worker, order);
    }
    WorkerProcess::Reply prepare(WorkerProcess& with, const PrepareJob& order) const {
        const int descriptor = volumes_namespace.get();
        return with.order(order, std::span(&descriptor, 1));
    }
    WorkerProcess::Reply finish(const JobId& id, std::vector<Fd> descriptors) {
        std::vector<int> numbers;
        for (const auto& fd : descriptors) {
            numbers.push_back(fd.get());
        }
        FinishJob order{.id = id};
        order.header.type = FinishJob::kType;
        order.header.sequence = 1000;
        worker.send(std::as_bytes(std::span(&order, 1)), numbers);
        descriptors.clear(); // the worker's are the last, as when the broker sends them
        return worker.receive();
    }
};

Fd open_at(const Fd& directory, const char* name, int flags) {
    return Fd(::openat(directory.get(), name, flags | O_CLOEXEC, 0600));
}

struct stat status_of(const Fd& fd) {
    struct stat out{};
    REQUIRE(::fstat(fd.get(), &out) == 0);
    return out;
}

unsigned long mount_flags(const Fd& mount) {
    struct statvfs out{};
    REQUIRE(::fstatvfs(mount.get(), &out) == 0);
    return out.f_flag;
}

bool write_as_slot(const Fd& mount, const char* name, std::string_view text) {
    return as_user(kWorkerTestSlot, [&] {
               const Fd file = open_at(mount, name, O_WRONLY | O_CREAT);
               return file.valid() && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1;
           }) == 0;
}

std::string read_as_slot(const Fd& mount, const char* name) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const Fd reading(ends[0]);
    Fd writing(ends[1]);
    as_user(kWorkerTestSlot, [&] {
        const Fd file = open_at(mount, name, O_RDONLY);
        std::array<char, 256> buffer{};
        const ssize_t size = ::read(file.get(), buffer.data(), buffer.size());
        return size >= 0 && ::write(writing.get(), buffer.data(), static_cast<std::size_t>(size)) == size ? 0 : 1;
    });
    writing.reset();
    std::array<char, 256> buffer{};
    const ssize_t size = ::read(reading.get(), buffer.data(), buffer.size());
    return {buffer.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
}

const Fd& volume_of(const WorkerProcess::Reply& reply, std::size_t index = 0) {
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    REQUIRE(reply.descriptors.size() > kPreparedFixed + index);
    return reply.descriptors[kPreparedFixed + index];
}

std::string line_of(const std::string& text, const std::string& key) {
    const auto at = text.find(key);
    return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
}

std::size_t open_descriptors(pid_t pid) {
    const fs::directory_iterator all("/proc/" + std::to_string(pid) + "/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

} // namespace

TEST_CASE("a worker serves with three capabilities, a filter, and nothing of the host's mounts") {
    World world;
    CHECK(world.worker.load_volumes().empty());
    const std::string status = read_text("/proc/" + std::to_string(world.worker.pid()) + "/status");
    for (const char* const set : {"CapPrm:\t", "CapEff:\t", "CapBnd:\t"}) {
        CHECK(line_of(status, set) == std::string(set) + "0000000000240001"); // CHOWN, SYS_CHROOT, SYS_ADMIN
    }
    CHECK(line_of(status, "CapInh:\t") == "CapInh:\t0000000000000000");
    CHECK(line_of(status, "CapAmb:\t") == "CapAmb:\t0000000000000000");
    CHECK(line_of(status, "NoNewPrivs:\t") == "NoNewPrivs:\t1");
    CHECK(line_of(status, "Seccomp:\t") == "Seccomp:\t2");
    CHECK(line_of(status, "Umask:\t") == "Umask:\t0077");
    const std::string mounts = read_text("/proc/" + std::to_string(world.worker.pid()) + "/mountinfo");
    CHECK(std::count(mounts.begin(), mounts.end(), '\n') == 9); // root, store, ended, running, dev, usr twice, base, nodes
    for (std::size_t at = 0; at < mounts.size(); at = mounts.find('\n', at) + 1) {
        CHECK(mounts.substr(at, mounts.find('\n', at) - at).find("nosuid") != std::string::npos);
    }
}

TEST_CASE("a worker that inherits another descriptor does not start") {
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

    Labels labels{};
    std::memcpy(labels.data(), "a=b", 3);
    auto with_labels = record;
    with_labels.labels_size = 3;
    const auto committed = world.worker.order(CommitVolume{.record = with_labels, .labels = labels});
    CHECK(committed.answer.code == ErrorCode::Ok);
    CHECK(committed.descriptors.empty());
    image = status_of(staged.descriptors[0]);
    CHECK(image.st_uid == 0);
    CHECK((image.st_mode & 07777U) == 0600);
    CHECK(static_cast<std::uint64_t>(image.st_blocks) * 512 >= record.image_bytes);
    CHECK(world.installation.loops() == 0);
    CHECK(fs::is_empty(world.installation.state() / "staging"));
    CHECK(fs::status(world.installation.volume(record.id)).permissions() == fs::perms::owner_all);
    CHECK(read_text(world.installation.volume(record.id) / "labels") == "a=b");

    const auto loaded = world.worker.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].status == VolumeStatus::Available);
    CHECK(loaded[0].record.id == record.id);
    CHECK(loaded[0].record.name == record.name);
    CHECK(loaded[0].labels == labels);
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

TEST_CASE("a job gets its world, and what it leaves is removed") {
    World world;
    const std::string host_mounts = read_text("/proc/self/mountinfo");
    const auto image = make_volume_record("data", 5 * kMiB, Backend::Image);
    const auto memory = make_volume_record("scratch", 3 * kMiB, Backend::Tmpfs);
    create_volume(world.worker, image);
    create_volume(world.worker, memory);
    auto order = make_prepare({image, memory}, Access::ReadWrite);
    order.volumes[0].target = TargetText("/data/deep");
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
    CHECK(world.worker.order(TrashVolume{.id = image.id}).answer.code == ErrorCode::InUse);
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
    CHECK(second.order(TrashVolume{.id = image.id}).answer.code == ErrorCode::Ok);
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

TEST_CASE("a failure after some volumes were mounted unmounts them") {
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

TEST_CASE("a volume is updated, trashed, emptied") {
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

    CHECK(world.worker.order(TrashVolume{.id = record.id}).answer.code == ErrorCode::Ok);
    CHECK(fs::exists(world.installation.state() / "trash" / to_string(record.id) / "image"));
    CHECK(world.worker.order(TrashVolume{.id = record.id}).answer.code == ErrorCode::NotFound);
    CHECK(world.worker.order(UpdateRecord{.record = record, .durable = 1}).answer.code == ErrorCode::NotFound);
    SUBCASE("by order") {
        CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok);
    }
    SUBCASE("after a restart") {
        CHECK(world.worker.load_volumes().empty());
        world.worker.load_jobs(); // answered when the one before is over
    }
    CHECK(fs::is_empty(world.installation.state() / "trash"));
    CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok);
}

TEST_CASE("what is in a trashed volume besides our files is not touched") {
    World world;
    const auto record = make_volume_record("data", 1 * kMiB, Backend::Tmpfs);
    create_volume(world.worker, record);
    write_text(world.installation.volume(record.id) / "unknown", "x");
    REQUIRE(world.worker.order(TrashVolume{.id = record.id}).answer.code == ErrorCode::Ok);
    const auto emptied = world.worker.order(EmptyTrash{.id = record.id});
    CHECK(emptied.answer.code != ErrorCode::Ok);
    CHECK(emptied.answer.step == Step::EmptyTrash);
    CHECK(fs::exists(world.installation.state() / "trash" / to_string(record.id) / "unknown"));
}

TEST_CASE("a volume is what its record says, or it is quarantined") {
    World world;
    auto record = make_volume_record("data", 2 * kMiB, Backend::Image);
    record.labels_size = 3;
    create_volume(world.worker, record, Labels{1, 2, 3});
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
    SUBCASE("the labels are missing") {
        fs::remove(directory / "labels");
    }
    SUBCASE("the labels are longer") {
        write_text(directory / "labels", "1234");
    }
    const auto loaded = world.worker.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].status == VolumeStatus::Quarantined);
    CHECK(loaded[0].record.id == record.id);
    CHECK((loaded[0].record.size_bytes == record.size_bytes) == readable);
    if (readable && fs::exists(directory / "labels") && fs::file_size(directory / "labels") == 3) {
        CHECK(world.prepare(make_prepare({record}, Access::ReadWrite)).answer.step == Step::OpenVolume);
        CHECK(world.installation.loops() == 0);
    }
}

TEST_CASE("a job gets a volume only with the size that its record has") {
    World world;
    const auto record = make_volume_record("memory", 2 * kMiB, Backend::Tmpfs);
    create_volume(world.worker, record);
    auto order = make_prepare({record}, Access::ReadWrite);
    order.volumes[0].size_bytes *= 2;
    CHECK(world.prepare(order).answer.code == ErrorCode::Quarantined);
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

TEST_CASE("bytes that are no order end the worker") {
    World world;
    world.worker.load_volumes();
    const auto end_of = [&world](const auto& order, std::size_t size, std::span<const int> descriptors = {}) {
        return world.worker.order_and_wait_for_end(std::as_bytes(std::span(&order, 1)).first(size), descriptors);
    };
    TrashVolume order{.id = make_random_id<VolumeId>()};
    order.header.type = TrashVolume::kType;
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
    SUBCASE("a job without its user namespace") {
        auto prepare = make_prepare({}, Access::ReadWrite);
        prepare.header.type = PrepareJob::kType;
        CHECK(end_of(prepare, sizeof prepare) == 1);
    }
}

TEST_CASE("a base that would lead elsewhere is refused") {
    Installation installation;
    const fs::path base = installation.state() / "bases/minimal";
    SUBCASE("proc is a symbolic link") {
        fs::create_symlink("/etc", base / "proc");
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
        order.volumes[0].target = TargetText(target);
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
