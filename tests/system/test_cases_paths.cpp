// Published flaws of others, about paths, as they would be tried here: docs/security-cases.md.
#include <doctest/doctest.h>

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "tests/system/open_watch.h"

namespace joblet::testing {

namespace fs = std::filesystem;

TEST_SUITE_BEGIN("cases");

namespace {

bool is_long() {
    const char* const word = std::getenv("JOBLET_TEST_LONG");
    return word != nullptr && std::string_view(word) == "1";
}

// A directory of root's that goes with it.
class OwnDirectory {
  public:
    OwnDirectory() {
        std::string pattern = "/var/lib/joblet-test-cases.XXXXXX";
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
        fs::permissions(path_, static_cast<fs::perms>(0755));
    }
    ~OwnDirectory() {
        ::umount2(path_.c_str(), MNT_DETACH);
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    OwnDirectory(const OwnDirectory&) = delete;
    OwnDirectory& operator=(const OwnDirectory&) = delete;
    [[nodiscard]] const fs::path& path() const {
        return path_;
    }

  private:
    fs::path path_;
};

// What no job and no daemon may touch: names, owners, modes, sizes and times.
class Canary {
  public:
    Canary() {
        for (const char* const name : {"null", "zero", "tty", "passwd"}) {
            write_file(tree() / name, "canary");
        }
        fs::create_directories(tree() / "pts");
        fs::create_directories(tree() / "shm");
        before_ = picture();
    }
    [[nodiscard]] fs::path tree() const {
        return directory_.path();
    }
    [[nodiscard]] bool is_unchanged() const {
        return picture() == before_;
    }

  private:
    [[nodiscard]] std::set<std::string> picture() const {
        std::set<std::string> out;
        for (const auto& entry : fs::recursive_directory_iterator(tree())) {
            struct stat status{};
            REQUIRE(::lstat(entry.path().c_str(), &status) == 0);
            out.insert(fmt::format("{} {} {:o} {}:{} {} {}.{}", entry.path().string(), status.st_ino, status.st_mode, status.st_uid,
                                   status.st_gid, status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec));
        }
        return out;
    }

    OwnDirectory directory_;
    std::set<std::string> before_;
};

// A base on a file system of its own, so that whatever opens something of it is seen; what is in it wants to do harm.
class HostileBase {
  public:
    HostileBase() {
        REQUIRE(::mount("joblet-test", path().c_str(), "tmpfs", 0, "mode=0755,size=32m") == 0);
        for (const char* const name : {"etc", "usr/bin", "usr/lib"}) {
            fs::create_directories(path() / name);
        }
        fs::create_directory_symlink("usr/bin", path() / "bin");
        fs::create_directory_symlink("usr/lib", path() / "lib");
        fs::copy_file("/bin/busybox", path() / "usr/bin/busybox");
        for (const char* const tool : {"sh", "cat", "echo", "sleep", "touch", "ls", "stat", "mv", "ln", "mkdir", "id", "true", "pwd"}) {
            fs::create_symlink("busybox", path() / "usr/bin" / tool);
        }
        write_file(path() / "etc/nsswitch.conf", "passwd: hostile\ngroup: hostile\nhosts: hostile\n");
        write_file(path() / "etc/passwd", "root:x:0:0::/:/bin/sh\nhostile:x:5:5::/:/bin/sh\n");
        write_file(path() / "etc/ld.so.preload", "/usr/lib/libnss_hostile.so.2\n");
        write_file(path() / "etc/localtime", "TZif2");
        write_file(path() / "usr/lib/libnss_hostile.so.2", "no library at all");
    }
    [[nodiscard]] const fs::path& path() const {
        return directory_.path();
    }
    // An installation that has it under the name `hostile`.
    [[nodiscard]] Installation::Options options() const {
        Installation::Options out;
        out.broker_toml = fmt::format("[bases]\nhostile = \"{}\"\n", path().string());
        return out;
    }

  private:
    OwnDirectory directory_;
};

// A job in the background, and the host's pid of its first process.
struct RunningJob {
    std::string id;
    pid_t init = -1;

    RunningJob(const Installation& here, const Words& options, const std::string& script, uid_t uid) {
        Words words = {"run", "-d"};
        words.insert(words.end(), options.begin(), options.end());
        words.insert(words.end(), {"--", "sh", "-c", script});
        const auto started = here.run_rnx(words, uid);
        REQUIRE_MESSAGE(started.status == 0, started.err);
        id = started.out.substr(0, started.out.find('\n'));
        REQUIRE(becomes_true([&] {
            for (const pid_t pid : privileged_pids(here)) {
                init = read_file(fmt::format("/proc/{}/comm", pid)) == "joblet-init\n" ? pid : init;
            }
            return init > 0;
        }));
    }
    [[nodiscard]] std::string root() const {
        return fmt::format("/proc/{}/root", init);
    }
    // Mount points that it has.
    [[nodiscard]] std::multiset<std::string> mount_points() const {
        std::multiset<std::string> out;
        std::istringstream lines(read_file(fmt::format("/proc/{}/mountinfo", init)));
        for (std::string line; std::getline(lines, line);) {
            std::istringstream words(line);
            std::string word;
            for (int i = 0; i < 5; ++i) {
                words >> word;
            }
            out.insert(word);
        }
        return out;
    }
};

} // namespace

TEST_CASE("case_01: a job that exchanges names all the time gets its volumes where they belong, and nothing of it is the host's") {
    const Installation here;
    here.create("own", "4MiB", "filesystem", kAlice);
    here.create("data", "1MiB", "memory", kAlice);
    // Whatever it can name, and what it cannot: /volumes is root's. A success there is told.
    const RunningJob job(here, {"-v", "own:/own"},
                         "cd /volumes; mkdir /own/a /work/a; ln -s / /own/b; ln -s / /work/b; "
                         "while :; do "
                         "mkdir data 2>/dev/null && echo GAINED; ln -sT /own/a data 2>/dev/null && echo GAINED; "
                         "mv -T data data2 2>/dev/null && echo GAINED; mv -T own own2 2>/dev/null && echo GAINED; "
                         "for d in /own /work; do mv -T $d/a $d/c; mv -T $d/b $d/a; mv -T $d/c $d/b; done; "
                         "done",
                         kAlice);
    const auto before = job.mount_points();
    const int rounds = is_long() ? 3000 : 40;
    for (int i = 0; i < rounds; ++i) {
        REQUIRE(here.run_rnx({"volume", "attach", "data", job.id}, kAlice).status == 0);
        auto with = before;
        with.insert("/volumes/data");
        CHECK(job.mount_points() == with);
        REQUIRE(here.run_rnx({"volume", "detach", "data", job.id}, kAlice).status == 0);
        CHECK(job.mount_points() == before);
    }
    CHECK(here.run_rnx({"job", "logs", job.id}, kAlice).out.find("GAINED") == std::string::npos);
    CHECK(read_file("/proc/self/mountinfo").find("/volumes/data ") == std::string::npos);
    CHECK(here.run_rnx({"job", "stop", "--grace=1s", job.id}, kAlice).status == 0);
}

TEST_CASE("case_03: device nodes are those that their names say, whatever the base has in their place, and so is the terminal") {
    const HostileBase base;
    fs::create_directories(base.path() / "dev/pts");
    write_file(base.path() / "dev/null", "a file");
    fs::create_symlink("/dev/mem", base.path() / "dev/zero");
    fs::create_symlink("/etc/passwd", base.path() / "dev/tty");
    const Installation here(base.options());
    for (const char* const name : {"minimal", "hostile"}) {
        CAPTURE(name);
        const auto nodes = here.shell({"--base", name}, "cd /dev; stat -c '%n %F %t:%T' null zero full random urandom tty");
        CHECK_MESSAGE(nodes.out == "null character special file 1:3\nzero character special file 1:5\nfull character special file 1:7\n"
                                   "random character special file 1:8\nurandom character special file 1:9\n"
                                   "tty character special file 5:0\n",
                      nodes.err);
        const auto links = here.shell({"--base", name}, "cd /dev; ls; [ -c pts/ptmx ] && stat -c '%t:%T' pts/ptmx");
        CHECK_MESSAGE(links.out == "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n5:2\n", links.err);
    }
    CHECK(read_file(base.path() / "dev/null") == "a file");
}

TEST_CASE("case_05: a base whose dev leads to the host is refused or not followed, and a tree of the host's is unchanged") {
    const Canary canary;
    const HostileBase base;
    SUBCASE("dev itself is a link") {
        fs::create_directory_symlink(canary.tree(), base.path() / "dev");
        const Installation here(base.options());
        const auto refused = here.shell({"--base", "hostile"}, "true");
        CHECK(refused.status == 125);
        CHECK_MESSAGE(refused.err.find("hostile") != std::string::npos, refused.err);
    }
    SUBCASE("what is in it is links") {
        fs::create_directory(base.path() / "dev");
        for (const char* const name : {"null", "zero", "tty"}) {
            fs::create_symlink(canary.tree() / name, base.path() / "dev" / name);
        }
        for (const char* const name : {"pts", "shm"}) {
            fs::create_directory_symlink(canary.tree() / name, base.path() / "dev" / name);
        }
        const Installation here(base.options());
        here.create("data");
        const auto ran = here.shell({"--base", "hostile", "-v", "data:/data"},
                                    "echo x >/dev/null && echo x >/dev/shm/x && touch /data/x && ls /dev/pts && echo done");
        CHECK_MESSAGE(ran.out == "ptmx\ndone\n", ran.err);
    }
    CHECK(canary.is_unchanged());
}

TEST_CASE("case_07: making a volume opens nothing in a base") {
    const HostileBase base;
    const Installation here(base.options());
    REQUIRE(here.shell({"--base", "hostile"}, "true").status == 0); // whatever is to be opened once has been
    const OpenWatch watch;
    watch.add(base.path());
    here.create("disk", "4MiB", "filesystem", kAlice);
    here.create("memory", "1MiB", "memory", kAlice);
    const auto events = watch.events();
    CHECK(events.empty());
    // and it is a watch that sees what is opened
    REQUIRE(here.shell({"--base", "hostile"}, "cat /etc/passwd").status == 0);
    CHECK(!watch.events().empty());
}

TEST_CASE("case_08: while a volume comes to a running job or leaves it, no daemon opens anything of the job's") {
    const HostileBase base;
    const Installation here(base.options());
    here.create("own", "4MiB", "filesystem", kAlice);
    here.create("data", "4MiB", "filesystem", kAlice);
    const RunningJob job(here, {"--base", "hostile", "-v", "own:/own"}, "while :; do cat /etc/passwd >/dev/null; sleep 0.05; done", kAlice);
    const OpenWatch watch;
    for (const char* const path : {"/", "/volumes", "/volumes/own", "/work", "/tmp", "/dev", "/dev/shm", "/etc", "/proc"}) {
        watch.add(job.root() + path);
    }
    const auto privileged = privileged_pids(here);
    const int rounds = is_long() ? 500 : 20;
    for (int i = 0; i < rounds; ++i) {
        REQUIRE(here.run_rnx({"volume", "attach", "data", job.id}, kAlice).status == 0);
        REQUIRE(here.run_rnx({"volume", "detach", "data", job.id}, kAlice).status == 0);
    }
    const auto events = watch.events();
    CHECK(!events.empty()); // the job's own
    const auto done = done_by(events, privileged);
    CHECK_MESSAGE(done.empty(), done.front());
    CHECK(here.run_rnx({"job", "stop", "--grace=1s", job.id}, kAlice).status == 0);
}

TEST_CASE("case_09: what decides about names and libraries in a base is never opened by anything privileged") {
    const HostileBase base;
    const Installation here(base.options());
    const OpenWatch watch;
    watch.add(base.path());
    const auto daemons = privileged_pids(here);
    for (const char* const user : {"0", "5", "5:5"}) {
        // host name, user and group, a terminal, a log: whatever might ask for a name
        REQUIRE(here.shell({"--base", "hostile", "--user", user, "--hostname", "box"}, "cat /etc/nsswitch.conf").status == 0);
        const RunningJob job(here, {"--base", "hostile", "--user", user}, "cat /etc/passwd; sleep 60", kAlice);
        auto privileged = privileged_pids(here);
        privileged.insert(daemons.begin(), daemons.end());
        CHECK(privileged.contains(job.init));
        CHECK(here.run_rnx({"job", "stop", "--grace=1s", job.id}, kAlice).status == 0);
        const auto events = watch.events();
        CHECK(std::ranges::any_of(events, [](const auto& event) { return event.path.ends_with("passwd"); })); // by the job
        const auto done = done_by(events, privileged);
        CHECK_MESSAGE(done.empty(), done.front());
        for (const auto& event : events) {
            CHECK(event.path.find("libnss_hostile") == std::string::npos);
            CHECK(event.path.find("ld.so.preload") == std::string::npos);
        }
    }
}

TEST_CASE("case_11: nothing of ours writes into a volume, and a working directory that is a link changes nothing on the host") {
    const Canary canary;
    const Installation here;
    here.create("data", "8MiB", "filesystem", kAlice);
    here.create("late", "1MiB", "memory", kAlice);
    const auto canary_path = canary.tree().string();
    REQUIRE(here.shell({"-v", "data:/data"},
                       fmt::format("ln -s {0} /data/out; ln -s /proc/1/root{0} /data/by-proc; ln -s /proc/self/fd/3 "
                                   "/data/by-fd; ln -s ../../../..{0} /data/up; ln -s /work /data/in",
                                   canary_path),
                       kAlice)
                .status == 0);
    for (const char* const link : {"out", "by-proc", "by-fd", "up"}) {
        CAPTURE(link);
        const auto refused =
            here.run_rnx({"run", "-v", "data:/data", "-w", fmt::format("/data/{}", link), "--", "touch", "planted"}, kAlice);
        CHECK(refused.status == 125);
    }
    CHECK(here.run_rnx({"run", "-v", "data:/data", "-w", "/data/in", "--", "pwd"}, kAlice).out == "/work\n");
    CHECK(canary.is_unchanged());

    const RunningJob job(here, {"-v", "data:/data"}, "while :; do echo x >/data/file; sleep 0.05; done", kAlice);
    REQUIRE(becomes_true([&job] { return fs::exists(job.root() + "/data/file"); })); // it has its volume, and writes
    const OpenWatch watch;
    watch.add(job.root() + "/data");
    std::vector<OpenWatch::Event> events;
    const auto look = [&] {
        std::ranges::move(watch.events(), std::back_inserter(events));
        return std::ranges::any_of(events, [](const auto& event) { return event.is_write; });
    };
    CHECK(becomes_true(look)); // it is a watch that sees what is written: by the job
    const auto privileged = privileged_pids(here);
    REQUIRE(here.run_rnx({"volume", "usage", "data"}, kAlice).status == 0);
    REQUIRE(here.run_rnx({"volume", "attach", "late", job.id}, kAlice).status == 0);
    REQUIRE(here.run_rnx({"volume", "detach", "data", job.id}, kAlice).status == 0);
    CHECK(here.run_rnx({"job", "stop", "--grace=1s", job.id}, kAlice).status == 0);
    (void)look();
    const auto done = done_by(events, privileged);
    CHECK_MESSAGE(done.empty(), done.front());
}

TEST_SUITE_END();

} // namespace joblet::testing
