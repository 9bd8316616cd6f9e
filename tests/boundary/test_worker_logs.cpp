// Logs of detached jobs: made, opened, found again after a restart, removed. And a work that cannot be written to.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;

namespace {

PrepareJob with_log(const std::vector<VolumeRecord>& volumes = {}) {
    auto order = make_prepare(volumes, Access::ReadWrite);
    order.record.flags = kJobHasLog;
    return order;
}

int access_of(const Fd& fd) {
    return ::fcntl(fd.get(), F_GETFL) & O_ACCMODE;
}

bool write_all(const Fd& file, std::string_view text) {
    return ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::string contents(const Fd& file) {
    std::array<char, 256> buffer{};
    const ssize_t size = ::pread(file.get(), buffer.data(), buffer.size(), 0);
    return {buffer.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
}

bool exits_with(const Fd& exit_record, int code) {
    const ExitRecord record{.magic = kExitMagic, .kind = ExitKind::Exited, .code = code, .started_ns = 1, .ended_ns = 2};
    return ::write(exit_record.get(), &record, sizeof record) == sizeof record;
}

// As after the host has gone down: what is running is forgotten.
void forget_running(const Installation& installation) {
    for (const auto& entry : fs::directory_iterator(installation.root() / "run/joblet/jobs")) {
        fs::remove(entry.path());
    }
}

} // namespace

TEST_CASE("a job with a log is given two empty files, which are read while it writes and go when it is released") {
    World world;
    const auto memory = make_volume_record("memory", kMiB, Backend::Tmpfs);
    create_volume(world.worker, memory);
    const auto order = with_log({memory});
    auto reply = world.prepare(order);
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    REQUIRE(reply.descriptors.size() == kPreparedFixed + 2 + 1);
    for (const std::size_t i : {0U, 1U}) {
        const Fd& file = reply.descriptors[kPreparedFixed + i];
        const auto status = status_of(file);
        CHECK(S_ISREG(status.st_mode));
        CHECK((status.st_mode & 07777U) == 0600);
        CHECK(status.st_uid == 0);
        CHECK(status.st_size == 0);
        CHECK(access_of(file) == O_RDWR);
        CHECK(write_all(file, i == 0 ? "first" : "second"));
    }
    CHECK(status_of(reply.descriptors[kPreparedFixed + 2]).st_uid == kWorkerTestSlot); // the volume, last

    const auto check_open = [&] {
        const auto opened = world.worker.order(OpenLog{.header = {}, .id = order.record.id});
        CHECK(opened.answer.code == ErrorCode::Ok);
        REQUIRE(opened.descriptors.size() == 2);
        CHECK(contents(opened.descriptors[0]) == "first");
        CHECK(contents(opened.descriptors[1]) == "second");
        for (const Fd& file : opened.descriptors) {
            CHECK(access_of(file) == O_RDONLY);
            CHECK_FALSE(write_all(file, "x"));
        }
    };
    check_open();
    CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);
    check_open();
    CHECK(world.worker.order(ReleaseJob{.id = order.record.id}).answer.code == ErrorCode::Ok);
    CHECK(fs::is_empty(world.installation.root() / "opt/joblet/jobs"));
    const auto gone = world.worker.order(OpenLog{.header = {}, .id = order.record.id});
    CHECK(gone.answer.code == ErrorCode::NotFound);
    CHECK(gone.answer.step == Step::OpenLog);
    CHECK(gone.descriptors.empty());
}

TEST_CASE("a job without a log has none to open, and no copy of its record") {
    World world;
    const auto order = make_prepare({}, Access::ReadWrite);
    const auto reply = world.prepare(order);
    REQUIRE(reply.descriptors.size() == kPreparedFixed);
    CHECK_FALSE(fs::exists(world.installation.ended(order.record.id) / "record"));
    CHECK(world.worker.order(OpenLog{.header = {}, .id = order.record.id}).answer.code == ErrorCode::NotFound);
}

TEST_CASE("a job with a log whose preparation fails leaves nothing") {
    World world;
    const auto order = with_log();
    fs::create_directory(world.installation.running(order.record.id)); // a record cannot be put here
    CHECK(world.prepare(order).answer.step == Step::MakeJobDirectory);
    CHECK(fs::is_empty(world.installation.root() / "opt/joblet/jobs"));
}

TEST_CASE("jobs that ended with a log are found again, and what a crash left is removed") {
    World world;
    const auto prepare = [&world](const PrepareJob& order) {
        auto reply = world.prepare(order);
        REQUIRE(reply.answer.code == ErrorCode::Ok);
        return reply;
    };
    const auto ended = with_log();
    REQUIRE(exits_with(prepare(ended).descriptors[kExitRecord], 3));
    CHECK(world.finish(ended.record.id, {}).answer.code == ErrorCode::Ok);
    const auto crashed = with_log(); // with the host: no exit record
    prepare(crashed);
    const auto without = make_prepare({}, Access::ReadWrite);
    prepare(without);
    const auto torn = with_log(); // its record never came to the disk
    prepare(torn);
    const auto newer = with_log();
    prepare(newer);
    forget_running(world.installation);
    write_text(world.installation.ended(torn.record.id) / "record", "");
    write_text(world.installation.ended(newer.record.id) / "record", "of a later version");
    write_text(world.installation.root() / "opt/joblet/jobs/notes", "somebody's");
    const auto alive = with_log();
    prepare(alive);

    WorkerProcess second(world.installation);
    CHECK(second.load_jobs().size() == 3);
    CHECK(fs::exists(world.installation.ended(without.record.id))); // for all it knows another worker is preparing it
    CHECK(fs::exists(world.installation.ended(torn.record.id)));
    const auto jobs = second.load_jobs(true);
    const auto find = [&jobs](const PrepareJob& order) -> const LoadedJob* {
        const auto found = std::ranges::find(jobs, order.record.id, [](const LoadedJob& job) { return job.record.id; });
        return found == jobs.end() ? nullptr : &*found;
    };
    CHECK(jobs.size() == 3);
    REQUIRE(find(ended) != nullptr);
    CHECK(find(ended)->ended == 1);
    CHECK(find(ended)->exit.code == 3);
    CHECK(find(ended)->record.owner_uid == 1000);
    CHECK(find(ended)->record.flags == kJobHasLog);
    REQUIRE(find(crashed) != nullptr);
    CHECK(find(crashed)->ended == 1);
    CHECK(find(crashed)->exit.magic == 0);
    REQUIRE(find(alive) != nullptr);
    CHECK(find(alive)->ended == 0);

    CHECK_FALSE(fs::exists(world.installation.ended(without.record.id)));
    CHECK_FALSE(fs::exists(world.installation.ended(torn.record.id)));
    CHECK(read_text(world.installation.ended(newer.record.id) / "record") == "of a later version");
    CHECK(fs::exists(world.installation.root() / "opt/joblet/jobs/notes"));
    CHECK(second.order(OpenLog{.header = {}, .id = crashed.record.id}).descriptors.size() == 2);
    CHECK(second.order(ReleaseJob{.id = crashed.record.id}).answer.code == ErrorCode::Ok);
    CHECK(second.load_jobs().size() == 2);
}

TEST_CASE("more ended jobs than an answer holds are all told") {
    World world;
    std::size_t count = 0;
    for (; count < 2 * kJobsPerAnswer + 1; ++count) {
        REQUIRE(world.prepare(with_log()).answer.code == ErrorCode::Ok);
    }
    forget_running(world.installation);
    CHECK(world.worker.load_jobs().size() == count);
}

TEST_CASE("a read-only work is still the slot's, and nothing can be made in it") {
    World world;
    auto order = make_prepare({}, Access::ReadWrite);
    order.flags = kPrepareReadOnlyWork;
    const auto reply = world.prepare(order);
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    const Fd& work = reply.descriptors[kWorkMount];
    CHECK((mount_flags(work) & (ST_RDONLY | ST_NOSUID | ST_NODEV)) == (ST_RDONLY | ST_NOSUID | ST_NODEV));
    CHECK(status_of(work).st_uid == kWorkerTestSlot);
    CHECK((status_of(work).st_mode & 07777U) == 0755);
    CHECK_FALSE(write_as_slot(work, "file", "x"));
    CHECK(write_as_slot(reply.descriptors[kTmpMount], "file", "x"));
}
