#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <sqlite3.h>

#include "api-unpriv/filter_table.h"
#include "api-unpriv/jobs/request.h"
#include "api-unpriv/store/database.h"
#include "api-unpriv/store/migrations.h"
#include "api-unpriv/store/writer.h"

using namespace joblet;
using namespace joblet::api;

namespace {

// A directory of the test's own, removed with all that is in it.
class Scratch {
  public:
    Scratch() {
        std::string pattern = "/var/tmp/joblet-test-store-XXXXXX";
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::string& path() const {
        return path_;
    }
    [[nodiscard]] std::string file() const {
        return path_ + "/joblet.db";
    }

  private:
    std::string path_;
};

Volume some_volume(std::uint8_t number) {
    Volume volume;
    volume.entry.id.bytes.fill(number);
    volume.entry.owner_uid = 4'000'000'000U; // does not fit in 31 bits
    volume.entry.name = NameText("data");
    volume.entry.type = protocol::VolumeType::Memory;
    volume.entry.backend = protocol::Backend::Tmpfs;
    volume.entry.status = protocol::VolumeStatus::InUse;
    volume.entry.size_bytes = protocol::kVolumeSizeMax;
    volume.entry.inodes = 17;
    volume.entry.created_ns = 1'700'000'000'000'000'001;
    volume.entry.last_used_ns = 3;
    volume.entry.flags = protocol::kVolumeProtected;
    volume.entry.trashed_until_ns = 4;
    volume.entry.soft_size_bytes = 5;
    volume.entry.soft_inodes = 6;
    volume.entry.io = {4096, protocol::kIoLimitMax, 7, 8};
    volume.labels = {{"env", "prod"}, {"z", ""}};
    return volume;
}

Job some_job(std::uint8_t number) {
    Job job;
    job.id.bytes.fill(number);
    job.owner_uid = 1000;
    job.state = protocol::JobState::Ended;
    job.started_ns = 5;
    job.exit.magic = kExitMagic;
    job.exit.kind = ExitKind::ExecFailed;
    job.exit.sys_errno = 2;
    job.exit.started_ns = 5;
    job.exit.ended_ns = 9;
    job.exit.flags = kExitOutOfMemory;
    job.detached = true;
    job.remove_at_end = true;
    job.limits.memory_bytes = protocol::kVolumeSizeMax;
    job.limits.swap_bytes = 1;
    job.limits.processes = 2;
    job.limits.cpu_milli = 1500;
    job.limits.io = {4096, 5000, 3, 4};
    job.limits.controllers = protocol::kControllersAll;
    job.limits.device_count = 2;
    job.limits.devices[0] = {8, 16};
    job.limits.devices[1] = {7, 4'000'000'000U};
    job.name = std::string("name");
    job.command = {"sh", "-c", "\xff\x01", ""};
    job.base = std::string("minimal");
    job.host_name = std::string("h");
    job.volumes = {{some_volume(7).entry.id, "data", "/data", true}, {some_volume(8).entry.id, "", "", false}};
    return job;
}

void execute(const std::string& file, const std::string& sql) {
    sqlite3* raw = nullptr;
    REQUIRE(sqlite3_open(file.c_str(), &raw) == SQLITE_OK);
    CHECK(sqlite3_exec(raw, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(raw);
}

bool exists(const std::string& path) {
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0;
}

#ifndef JOBLET_SANITIZE // sanitizers make calls of their own
// The wait status of a child that opened the database, put on the daemon's filter, and did `work` (0 is success).
template <class Work> int status_behind_filter(const std::string& directory, Synchronous synchronous, const Work& work) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        auto database = Database::open(directory, synchronous);
        const auto filter = compile_filter(allowed_calls(), {}, OtherCalls::KillProcess);
        if (!database || !filter || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || install_filter(*filter) != 0) {
            ::_exit(100);
        }
        ::_exit(work(*database));
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return status;
}

bool write_jobs(Database& database, int count) {
    Job job = some_job(1);
    for (int i = 0; i < count; ++i) {
        job.id = make_random_id<JobId>();
        if (!database.begin() || !database.put(job) || !database.commit()) {
            database.roll_back();
            return false;
        }
    }
    return true;
}
#endif

} // namespace

TEST_CASE("volumes, labels and jobs are read back as they were written") {
    const Scratch scratch;
    {
        auto database = Database::open(scratch.path(), Synchronous::Full);
        REQUIRE(database);
        REQUIRE(database->begin());
        REQUIRE(database->put(some_volume(1)));
        REQUIRE(database->put(some_volume(1))); // again: replaced
        REQUIRE(database->put(some_job(2)));
        REQUIRE(database->put(some_job(2)));
        REQUIRE(database->put(some_job(3)));
        REQUIRE(database->erase(some_job(3).id));
        REQUIRE(database->commit());
    }
    auto database = Database::open(scratch.path(), Synchronous::Full);
    REQUIRE(database);
    const auto volumes = database->load_volumes();
    REQUIRE(volumes);
    REQUIRE(volumes->size() == 1);
    const auto expected = some_volume(1);
    const auto& volume = volumes->front();
    CHECK(volume.labels == expected.labels);
    CHECK(volume.entry.id == expected.entry.id);
    CHECK(volume.entry.owner_uid == expected.entry.owner_uid);
    CHECK(volume.entry.name == expected.entry.name);
    CHECK(volume.entry.type == expected.entry.type);
    CHECK(volume.entry.backend == expected.entry.backend);
    CHECK(volume.entry.status == expected.entry.status);
    CHECK(volume.entry.size_bytes == expected.entry.size_bytes);
    CHECK(volume.entry.inodes == expected.entry.inodes);
    CHECK(volume.entry.created_ns == expected.entry.created_ns);
    CHECK(volume.entry.last_used_ns == expected.entry.last_used_ns);
    CHECK(volume.entry.flags == expected.entry.flags);
    CHECK(volume.entry.trashed_until_ns == expected.entry.trashed_until_ns);
    CHECK(volume.entry.soft_size_bytes == 5);
    CHECK(volume.entry.soft_inodes == 6);
    CHECK(volume.entry.io == expected.entry.io);

    const auto jobs = database->load_jobs();
    REQUIRE(jobs);
    REQUIRE(jobs->size() == 1);
    const auto& job = jobs->front();
    CHECK(job.command == some_job(2).command);
    CHECK(job.volumes == some_job(2).volumes);
    CHECK(job.name == "name");
    CHECK(job.base == "minimal");
    CHECK(job.exit.kind == ExitKind::ExecFailed);
    CHECK(job.exit.sys_errno == 2);
    CHECK(job.exit.ended_ns == 9);
    CHECK(job.exit.flags == kExitOutOfMemory);
    CHECK(job.detached);
    CHECK(job.remove_at_end);
    const auto& limits = job.limits;
    CHECK(limits.memory_bytes == protocol::kVolumeSizeMax);
    CHECK(limits.swap_bytes == 1);
    CHECK(limits.processes == 2);
    CHECK(limits.cpu_milli == 1500);
    CHECK(limits.io == some_job(2).limits.io);
    CHECK(limits.controllers == protocol::kControllersAll);
    REQUIRE(limits.device_count == 2);
    CHECK(limits.devices == some_job(2).limits.devices); // in their order, once each
}

TEST_CASE("what was not committed is not there") {
    const Scratch scratch;
    auto database = Database::open(scratch.path(), Synchronous::Off);
    REQUIRE(database);
    REQUIRE(database->begin());
    REQUIRE(database->put(some_job(1)));
    database->roll_back();
    CHECK(database->load_jobs()->empty());
    REQUIRE(database->begin()); // and it can go on
    REQUIRE(database->commit());
}

TEST_CASE("migrations ascend, and a new file has the newest schema") {
    int before = 0;
    for (const auto& migration : kMigrations) {
        CHECK(migration.version == before + 1);
        before = migration.version;
    }
    const Scratch scratch;
    REQUIRE(Database::open(scratch.path(), Synchronous::Normal));
    sqlite3* raw = nullptr;
    REQUIRE(sqlite3_open(scratch.file().c_str(), &raw) == SQLITE_OK);
    sqlite3_stmt* statement = nullptr;
    REQUIRE(sqlite3_prepare_v2(raw, "PRAGMA user_version", -1, &statement, nullptr) == SQLITE_OK);
    REQUIRE(sqlite3_step(statement) == SQLITE_ROW);
    CHECK(sqlite3_column_int(statement, 0) == kSchemaVersion);
    sqlite3_finalize(statement);
    sqlite3_close(raw);
}

TEST_CASE("a database of the first version is brought up to date, and its rows survive") {
    const Scratch scratch;
    execute(scratch.file(),
            fmt::format("{} PRAGMA user_version = 1; PRAGMA application_id = {};"
                        "INSERT INTO volumes VALUES (x'00000000000000000000000000000001', 1000, 'data', 1, 1, 1, 1048576, 7, 11, 12);"
                        "INSERT INTO labels VALUES (x'00000000000000000000000000000001', 'env', 'prod');"
                        "INSERT INTO jobs VALUES (x'00000000000000000000000000000002', 1000, 'j', 2, 5, 0, 0, 0, 0, 0, 0, 'minimal', '');"
                        "INSERT INTO job_volumes VALUES (x'00000000000000000000000000000002', 0, x'00000000000000000000000000000001', "
                        "'data', '/data', 1);",
                        kMigrations.front().sql, kApplicationId));
    std::string note;
    for (int start = 0; start < 2; ++start) { // the second finds it up to date
        auto database = open_or_rebuild(scratch.path(), Synchronous::Normal, note);
        REQUIRE(database);
        CHECK(note.empty());
        auto volumes = database->load_volumes();
        REQUIRE(volumes);
        REQUIRE(volumes->size() == 1);
        auto& volume = volumes->front();
        CHECK(volume.entry.name.view() == "data");
        CHECK(volume.entry.last_used_ns == 12);
        CHECK(volume.entry.trashed_until_ns == 0);
        CHECK(volume.entry.flags == (start == 0 ? 0 : protocol::kVolumeProtected));
        CHECK(volume.labels == Labels{{"env", "prod"}});
        const auto jobs = database->load_jobs();
        REQUIRE(jobs);
        REQUIRE(jobs->size() == 1);
        CHECK(jobs->front().volumes.front().target == "/data");
        CHECK_FALSE(jobs->front().detached);
        CHECK_FALSE(jobs->front().remove_at_end);
        CHECK(jobs->front().limits.controllers == 0);
        CHECK(jobs->front().limits.device_count == 0);
        CHECK(volume.entry.io == protocol::IoLimits{});
        volume.entry.flags = protocol::kVolumeProtected;
        REQUIRE(database->begin());
        REQUIRE(database->put(volume));
        REQUIRE(database->commit());
    }
}

TEST_CASE("a newer schema is refused, with both versions named, and the file is left alone") {
    const Scratch scratch;
    REQUIRE(Database::open(scratch.path(), Synchronous::Normal));
    execute(scratch.file(), "PRAGMA user_version = 99");
    std::string note;
    const auto database = open_or_rebuild(scratch.path(), Synchronous::Normal, note);
    REQUIRE_FALSE(database);
    CHECK(database.error().kind == StoreError::Kind::NewerSchema);
    CHECK(database.error().message.find("99") != std::string::npos);
    CHECK(database.error().message.find(std::to_string(kSchemaVersion)) != std::string::npos);
    CHECK(exists(scratch.file()));
    CHECK_FALSE(exists(scratch.file() + ".damaged"));
}

TEST_CASE("a damaged or foreign file is set aside and a new one made") {
    const Scratch scratch;
    const auto rebuilt = [&scratch]() {
        std::string note;
        auto database = open_or_rebuild(scratch.path(), Synchronous::Normal, note);
        REQUIRE(database);
        CHECK_FALSE(note.empty());
        CHECK(exists(scratch.file() + ".damaged"));
        CHECK(database->load_jobs()->empty());
        REQUIRE(database->begin());
        REQUIRE(database->put(some_job(1)));
        REQUIRE(database->commit());
    };
    SUBCASE("garbage") {
        std::ofstream(scratch.file()) << std::string(8192, 'x');
        rebuilt();
    }
    SUBCASE("pages overwritten") {
        {
            auto database = Database::open(scratch.path(), Synchronous::Normal);
            REQUIRE(database);
            REQUIRE(database->begin());
            for (std::uint8_t i = 1; i < 200; ++i) {
                REQUIRE(database->put(some_volume(i)));
            }
            REQUIRE(database->commit());
        }
        std::fstream file(scratch.file(), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(4096);
        file << std::string(16384, '\x5a');
        file.close();
        rebuilt();
    }
    SUBCASE("another program's database") {
        execute(scratch.file(), "CREATE TABLE other (x); PRAGMA user_version = 1");
        rebuilt();
    }
    SUBCASE("twice") {
        std::ofstream(scratch.file()) << std::string(8192, 'x');
        rebuilt();
        std::ofstream(scratch.file()) << std::string(8192, 'y');
        rebuilt();
    }
}

TEST_CASE("a directory that cannot be used is a failure, not damage") {
    const auto database = Database::open("/nonexistent-directory", Synchronous::Normal);
    REQUIRE_FALSE(database);
    CHECK(database.error().kind == StoreError::Kind::Failed);
}

TEST_CASE("the writer writes behind, and the last word of each thing counts") {
    const Scratch scratch;
    {
        auto database = Database::open(scratch.path(), Synchronous::Off);
        REQUIRE(database);
        StoreWriter writer(std::move(*database), {});
        for (std::uint8_t i = 1; i < 100; ++i) {
            writer.put(some_volume(i));
            writer.put(some_job(i));
        }
        CHECK(writer.flush());
        writer.erase(some_volume(1).entry.id);
        writer.put(some_volume(1));
        writer.erase(some_volume(2).entry.id);
        writer.put(some_job(101));
        writer.erase(some_job(101).id);
    } // the end writes what is there
    auto database = Database::open(scratch.path(), Synchronous::Off);
    REQUIRE(database);
    CHECK(database->load_volumes()->size() == 98);
    CHECK(database->load_jobs()->size() == 99);
}

TEST_CASE("a writer without a database takes everything and keeps nothing") {
    StoreWriter writer(std::nullopt, {});
    writer.put(some_volume(1));
    CHECK_FALSE(writer.flush());
}

#ifndef JOBLET_SANITIZE
TEST_CASE("once it is open, the database needs nothing that the filter denies, checkpoints and full disks included") {
    constexpr int kJobs = 400; // many times what brings about a checkpoint
    for (const auto synchronous : {Synchronous::Off, Synchronous::Normal, Synchronous::Full}) {
        const Scratch scratch;
        for (int start = 0; start < 2; ++start) { // a new file, then one with a log left by the first
            CHECK(status_behind_filter(scratch.path(), synchronous,
                                       [](Database& database) { return write_jobs(database, kJobs) ? 0 : 1; }) == 0);
        }
    }
    const Scratch scratch;
    CHECK(status_behind_filter(scratch.path(), Synchronous::Normal, [](Database& database) { return write_jobs(database, 1) ? 0 : 1; }) ==
          0);
    const auto full = [](Database& database) { return !write_jobs(database, kJobs) && database.load_jobs().has_value() ? 0 : 1; };
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const rlimit small{rlim_t{512} << 10U, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    const int status = status_behind_filter(scratch.path(), Synchronous::Normal, full);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    ::signal(SIGXFSZ, SIG_DFL);
    CHECK(status == 0);
}

TEST_CASE("behind the filter a detached job's control socket is made") {
    const Scratch scratch;
    const auto make = [](Database& /*unused*/) { return unused_control_socket().valid() ? 0 : 1; };
    CHECK(status_behind_filter(scratch.path(), Synchronous::Off, make) == 0);
}

TEST_CASE("behind the filter no file is opened") {
    const Scratch scratch;
    const int status = status_behind_filter(scratch.path(), Synchronous::Off, [](Database& /*unused*/) { return ::open("/", O_RDONLY); });
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGSYS);
}
#endif
