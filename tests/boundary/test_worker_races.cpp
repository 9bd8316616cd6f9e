// Somebody plants names where the worker is about to work, or exchanges them while it does.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>

#include "shared/host_uids.h"
#include "tests/boundary/worker_job.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;

namespace {

bool is_long() {
    const char* const word = std::getenv("JOBLET_TEST_LONG"); // NOLINT(concurrency-mt-unsafe): one thread
    return word != nullptr && std::string_view(word) == "1";
}

// A process that exchanges two names in a directory as fast as it can, until it is ended.
class Racer {
  public:
    // `directory` is where the names are, whatever mount namespace it is in.
    Racer(const Fd& directory, const std::string& one, const std::string& other) {
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) {
                ::syscall(SYS_renameat2, directory.get(), one.c_str(), directory.get(), other.c_str(), RENAME_EXCHANGE);
            }
        }
    }
    ~Racer() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    Racer(const Racer&) = delete;
    Racer& operator=(const Racer&) = delete;

  private:
    pid_t pid_ = -1;
};

Fd open_directory(const fs::path& path) {
    return Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

// Names, modes, owners and contents of a small tree: what must not change.
std::set<std::string> picture(const fs::path& tree) {
    std::set<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(tree)) {
        struct stat status{};
        REQUIRE(::lstat(entry.path().c_str(), &status) == 0);
        std::string line = entry.path().string() + " " + std::to_string(status.st_ino) + " " + std::to_string(status.st_mode) + " " +
                           std::to_string(status.st_uid) + " " + std::to_string(status.st_nlink) + " " + std::to_string(status.st_size);
        if (S_ISREG(status.st_mode)) {
            line += " " + read_text(entry.path());
        }
        out.insert(line);
    }
    return out;
}

struct Canary {
    fs::path tree;

    explicit Canary(const Installation& installation) : tree(installation.root() / "canary") {
        fs::create_directories(tree / "directory/below");
        write_text(tree / "file", "canary");
        write_text(tree / "directory/image", "canary");
        before_ = picture(tree);
    }
    [[nodiscard]] bool is_unchanged() const {
        return picture(tree) == before_;
    }

  private:
    std::set<std::string> before_;
};

} // namespace

TEST_CASE("case_01: names that are exchanged in a job while volumes come to it lead no mount out of its own directory") {
    // The one who exchanges them is the host's root, for whom /volumes is writable; a job is not. It must not help him.
    World world;
    const auto late = make_volume_record("late", kMiB, Backend::Tmpfs);
    create_volume(world.worker, late);
    auto order = make_prepare({}, Access::ReadWrite);
    auto reply = world.prepare(order);
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    const RunningJob job(order, std::move(reply), OwnedBy::Host);
    const std::string own_mounts = read_text("/proc/" + std::to_string(world.worker.pid()) + "/mountinfo");

    Fd volumes = job.open("volumes");
    REQUIRE(::mkdirat(volumes.get(), "late", 0755) == 0);
    REQUIRE(::symlinkat("/tmp", volumes.get(), "planted") == 0);
    std::optional<Racer> racer(std::in_place, job.open("volumes"), "late", "planted");

    const std::size_t elsewhere = job.mounts_but_at({"/volumes/late", "/volumes/planted"});
    const int rounds = is_long() ? 20'000 : 1000;
    int attached = 0;
    int refused = 0;
    AttachVolume attach{.record = order.record};
    attach.record.volumes[0] = late.id;
    attach.record.volume_count = 1;
    attach.volume = make_mount(late, Access::ReadWrite);
    attach.slot_first = kWorkerTestSlot;
    for (int i = 0; i < rounds; ++i) {
        const Fd entered = job.mount_namespace();
        const std::array descriptors = {world.volumes_namespace.get(), entered.get()};
        const auto answer = world.worker.order(attach, descriptors).answer;
        // The directory may have another name again by now; what it must not be is elsewhere
        attached += answer.code == ErrorCode::Ok ? 1 : 0;
        refused += answer.code == ErrorCode::Ok ? 0 : 1;
        // Where the symbolic link leads, over everything, or wherever else: nothing has come there. (One that a detach missed,
        // because its directory had the other name each time, may be below a new one)
        REQUIRE(job.mounts_but_at({"/volumes/late", "/volumes/planted"}) == elsewhere);
        for (const char* const name : {"late", "planted"}) {
            const DetachVolume detach{.record = order.record, .name = NameText(name), .target = {}};
            const int descriptor = entered.get();
            (void)world.worker.order(detach, std::span(&descriptor, 1));
        }
        // A detach takes the directory away. Whichever is there still need not be made.
        const int made = ::mkdirat(volumes.get(), "late", 0755);
        REQUIRE((made == 0 || errno == EEXIST));
        const int planted = ::symlinkat("/tmp", volumes.get(), "planted");
        REQUIRE((planted == 0 || errno == EEXIST));
    }
    CAPTURE(attached);
    CAPTURE(refused);
    CHECK(read_text("/proc/" + std::to_string(world.worker.pid()) + "/mountinfo") == own_mounts);
    const std::string host_mounts = read_text("/proc/self/mountinfo");
    CHECK(host_mounts.find("/volumes/late ") == std::string::npos);
    CHECK(host_mounts.find("/volumes/planted ") == std::string::npos);

    // All may have been refused. When nobody is in the way, that volume comes to that job
    racer.reset();
    REQUIRE(::renameat(volumes.get(), "late", volumes.get(), "one") == 0);
    REQUIRE(::renameat(volumes.get(), "planted", volumes.get(), "other") == 0);
    const Fd entered = job.mount_namespace();
    const std::array descriptors = {world.volumes_namespace.get(), entered.get()};
    const auto answer = world.worker.order(attach, descriptors).answer;
    CHECK(answer.code == ErrorCode::Ok);
    CAPTURE(int(answer.step));
    CHECK(job.mounts_but_at({"/volumes/late"}) < job.mounts_but_at({}));
}

TEST_CASE("case_12: what was planted in staging makes the creation fail, and is neither followed nor changed") {
    World world;
    const Canary canary(world.installation);
    const auto record = make_volume_record("data", 2 * kMiB, Backend::Image);
    const fs::path place = world.installation.state() / "staging" / to_string(record.id);
    SUBCASE("a symbolic link to a directory") {
        fs::create_directory_symlink(canary.tree / "directory", place);
    }
    SUBCASE("a symbolic link to nothing") {
        fs::create_symlink(canary.tree / "new", place);
    }
    SUBCASE("a directory with a symbolic link for the image") {
        fs::create_directory(place);
        fs::create_symlink(canary.tree / "file", place / "image");
    }
    SUBCASE("a directory with a second name of a file for the image") {
        fs::create_directory(place);
        fs::create_hard_link(canary.tree / "file", place / "image");
    }
    SUBCASE("a directory with a symbolic link for the record") {
        fs::create_directory(place);
        fs::create_symlink(canary.tree / "file", place / "record.new");
    }
    SUBCASE("a file") {
        write_text(place, "x");
    }
    const auto planted = picture(canary.tree);
    const auto reply = world.worker.order(StageVolume{.record = record, .slot_first = kWorkerTestSlot});
    CHECK(reply.answer.code != ErrorCode::Ok);
    CHECK(picture(canary.tree) == planted);
    CHECK_FALSE(fs::exists(canary.tree / "new"));
    CHECK(world.installation.loops() == 0);
    CHECK(world.worker.load_volumes().empty());
}

TEST_CASE("case_15: a volume whose files are exchanged while it is opened is the one that was checked, or refused") {
    World world;
    const auto record = make_volume_record("data", 2 * kMiB, Backend::Image);
    create_volume(world.worker, record);
    const fs::path directory = world.installation.volume(record.id);
    {
        const auto first = world.prepare(make_prepare({record}, Access::ReadWrite));
        REQUIRE(write_as_slot(volume_of(first), "mine", "mine"));
    }
    // Another file system that would do just as well, but that its file has a second name
    const auto other = make_volume_record("other", 2 * kMiB, Backend::Image);
    create_volume(world.worker, other);
    const fs::path others = world.installation.volume(other.id) / "image";
    SUBCASE("by a symbolic link") {
        fs::create_symlink(others, directory / "planted");
    }
    SUBCASE("by a file with two names") {
        fs::create_hard_link(others, directory / "planted");
    }
    const Racer racer(open_directory(directory), "image", "planted");
    const int rounds = is_long() ? 20'000 : 300;
    int opened = 0;
    for (int i = 0; i < rounds; ++i) {
        auto order = make_prepare({record}, Access::ReadWrite);
        auto reply = world.prepare(order);
        if (reply.answer.code == ErrorCode::Ok) {
            ++opened;
            const Fd mine = open_at(volume_of(reply), ".", O_PATH | O_DIRECTORY);
            struct stat status{};
            REQUIRE(::fstatat(mine.get(), "mine", &status, AT_SYMLINK_NOFOLLOW) == 0);
            REQUIRE(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);
        } else {
            REQUIRE(reply.answer.step == Step::OpenVolume);
        }
    }
    CAPTURE(opened);
    CHECK(opened > 0);
    CHECK(opened < rounds);
}

TEST_CASE("case_28: only what was just made, and is empty, gets another owner") {
    World world(StoreKind::Btrfs);
    const Canary canary(world.installation);
    // A directory that is there already, with things in it, does not become a volume's
    for (const auto backend : {Backend::Image, Backend::Btrfs}) {
        const auto record = make_volume_record(backend == Backend::Image ? "image" : "btrfs", 20 * kMiB, backend);
        const fs::path place = world.installation.state() / "staging" / to_string(record.id);
        fs::create_directories(place / "subvolume/data/below");
        write_text(place / "subvolume/data/file", "root's");
        write_text(place / "image", "root's");
        fs::permissions(place, fs::perms::owner_all);
        const std::uint32_t slot = backend == Backend::Image ? kWorkerTestSlot : 0;
        CHECK(world.worker.order(StageVolume{.record = record, .slot_first = slot}).answer.code != ErrorCode::Ok);
        for (const char* const name : {"subvolume", "subvolume/data", "subvolume/data/below", "subvolume/data/file", "image"}) {
            struct stat status{};
            if (::lstat((place / name).c_str(), &status) == 0) {
                CHECK(status.st_uid == 0);
            }
        }
    }
    // And what a job has put into a volume keeps its owners when the volume is opened again, trashed and restored
    const auto record = make_volume_record("used", 20 * kMiB, Backend::Btrfs);
    create_volume(world.worker, record);
    {
        const auto reply = world.prepare(make_prepare({record}, Access::ReadWrite));
        REQUIRE(write_as_slot(volume_of(reply), "file", "x"));
    }
    const fs::path data = world.installation.volume(record.id) / "subvolume/data";
    REQUIRE(::lchown((data / "file").c_str(), kForeignFirst + 5, kForeignFirst + 5) == 0);
    REQUIRE(::symlink((canary.tree / "file").c_str(), (data / "link").c_str()) == 0);
    world.worker.load_volumes();
    {
        auto order = make_prepare({record}, Access::ReadWrite);
        auto reply = world.prepare(order);
        REQUIRE(reply.answer.code == ErrorCode::Ok);
        CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);
    }
    struct stat status{};
    REQUIRE(::lstat((data / "file").c_str(), &status) == 0);
    CHECK(status.st_uid == kForeignFirst + 5);
    CHECK(canary.is_unchanged());
}
