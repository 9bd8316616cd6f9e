// What joblet-api can still do with files once Landlock is on, in a child: it is for good.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "api-unpriv/host/report.h"
#include "api-unpriv/landlock.h"
#include "api-unpriv/store/database.h"
#include "shared/filter.h"

namespace joblet::api {
namespace {

long kernel_version() {
    return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1);
}

class Directory {
  public:
    Directory() {
        REQUIRE(::mkdtemp(path_.data()) != nullptr);
        std::filesystem::create_directory(store());
        std::ofstream(path_ + "/other") << "somebody else's";
    }
    ~Directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;

    [[nodiscard]] std::string store() const {
        return path_ + "/store";
    }
    [[nodiscard]] std::string beside() const {
        return path_;
    }

  private:
    std::string path_ = "/tmp/joblet-landlock.XXXXXX";
};

// What `action` returns, in a child that has restricted itself.
template <class Action> int restricted(const std::string& directory, Action action) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        const auto done = restrict_files_to(directory);
        ::_exit(done && *done == Landlock::On ? action() : 99);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// 0, or errno of the call that failed.
int outcome(long result) {
    return result < 0 ? errno : 0;
}
int opens(const std::string& path, int flags) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    const int error = outcome(fd);
    if (fd >= 0) {
        ::close(fd);
    }
    return error;
}

bool lacks_landlock() {
    if (kernel_version() >= 1) {
        return false;
    }
    MESSAGE("skipped: this kernel has no Landlock");
    return true;
}

} // namespace

TEST_CASE("joblet-api opens, makes, renames and removes files in its store, and nothing anywhere else") {
    if (lacks_landlock()) {
        return;
    }
    const Directory directory;
    const auto store = directory.store();
    const auto in_store = [&](auto action) { return restricted(store, action); };
    CHECK(in_store([&] { return opens(store + "/a", O_RDWR | O_CREAT); }) == 0);
    CHECK(in_store([&] { return opens(store + "/a", O_RDWR | O_TRUNC); }) == 0);
    CHECK(in_store([&] { return outcome(::truncate((store + "/a").c_str(), 1)); }) == 0);
    CHECK(in_store([&] { return opens(store, O_RDONLY | O_DIRECTORY); }) == 0);
    CHECK(in_store([&] { return outcome(std::rename((store + "/a").c_str(), (store + "/b").c_str())); }) == 0);
    CHECK(in_store([&] { return outcome(::unlink((store + "/b").c_str())); }) == 0);
    CHECK(in_store([] { return opens("/dev/urandom", O_RDONLY); }) == 0);

    CHECK(in_store([] { return opens("/etc/passwd", O_RDONLY); }) == EACCES);
    CHECK(in_store([] { return opens("/proc/self/status", O_RDONLY); }) == EACCES);
    CHECK(in_store([] { return opens("/dev/urandom", O_WRONLY); }) == EACCES);
    CHECK(in_store([] { return opens("/dev/null", O_RDONLY); }) == EACCES);
    CHECK(in_store([&] { return opens(directory.beside(), O_RDONLY | O_DIRECTORY); }) == EACCES);
    CHECK(in_store([&] { return opens(directory.beside() + "/other", O_RDONLY); }) == EACCES);
    CHECK(in_store([&] { return opens(store + "/../other", O_WRONLY); }) == EACCES);
    CHECK(in_store([&] { return opens(directory.beside() + "/new", O_WRONLY | O_CREAT); }) == EACCES);
    CHECK(in_store([&] { return outcome(::unlink((directory.beside() + "/other").c_str())); }) == EACCES);
    CHECK(in_store([&] { return outcome(::mkdir((store + "/d").c_str(), 0700)); }) == EACCES);
    CHECK(in_store([&] { return outcome(::symlink("/etc/passwd", (store + "/l").c_str())); }) == EACCES);
    CHECK(in_store([&] { return outcome(::mkfifo((store + "/f").c_str(), 0600)); }) == EACCES);
    CHECK(in_store([] {
              const std::array<char*, 1> none = {nullptr};
              return outcome(::execve("/bin/true", none.data(), none.data()));
          }) == EACCES);
    CHECK(std::filesystem::exists(directory.beside() + "/other"));
}

TEST_CASE("a link in the store leads nowhere, and files are not moved into it or out of it") {
    if (lacks_landlock()) {
        return;
    }
    const Directory directory;
    const auto store = directory.store();
    const auto other = directory.beside() + "/other";
    std::filesystem::create_symlink("/etc/passwd", store + "/link");
    std::ofstream(store + "/mine") << "mine";
    CHECK(restricted(store, [&] { return opens(store + "/link", O_RDONLY); }) == EACCES);
    CHECK(restricted(store, [&] { return outcome(std::rename(other.c_str(), (store + "/taken").c_str())); }) != 0);
    CHECK(restricted(store, [&] { return outcome(std::rename((store + "/mine").c_str(), (directory.beside() + "/given").c_str())); }) != 0);
    CHECK(restricted(store, [&] { return outcome(::link(other.c_str(), (store + "/taken").c_str())); }) != 0);
    CHECK(std::filesystem::exists(store + "/mine"));
    CHECK_FALSE(std::filesystem::exists(store + "/taken"));
}

TEST_CASE("threads that start later are restricted, too, and nothing takes it off again") {
    if (lacks_landlock()) {
        return;
    }
    const Directory directory;
    CHECK(restricted(directory.store(), [] {
              int error = 0;
              std::thread([&error] { error = opens("/etc/passwd", O_RDONLY); }).join();
              return error;
          }) == EACCES);
    CHECK(restricted(directory.store(), [] {
              const auto again = restrict_files_to("/etc"); // a second layer, within the first
              return again && *again == Landlock::On ? opens("/etc/passwd", O_RDONLY) : 98;
          }) == EACCES);
}

TEST_CASE("the database works behind it, and one that is damaged is set aside and made anew") {
    if (lacks_landlock()) {
        return;
    }
    const Directory directory;
    const auto store = directory.store();
    const auto opens_store = [&store] {
        std::string note;
        auto database = open_or_rebuild(store, Synchronous::Full, note);
        if (!database || !database->load_jobs() || !database->begin() || !database->commit()) {
            return 1;
        }
        return note.empty() ? 0 : 2;
    };
    CHECK(restricted(store, opens_store) == 0);
    CHECK(std::filesystem::exists(store + "/joblet.db"));
    std::ofstream(store + "/joblet.db") << "this is no database, and long enough to be looked at as one";
    CHECK(restricted(store, opens_store) == 2);
    CHECK(std::filesystem::exists(store + "/joblet.db.damaged"));
    CHECK(restricted(store, opens_store) == 0);
}

TEST_CASE("where the kernel can, TCP and processes outside are out of reach as well") {
    if (lacks_landlock()) {
        return;
    }
    const Directory directory;
    const auto connects = [] {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(9);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return outcome(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address));
    };
    CHECK((restricted(directory.store(), connects) == EACCES) == (kernel_version() >= 4));
    CHECK((restricted(directory.store(), [] { return outcome(::kill(::getppid(), 0)); }) == EPERM) == (kernel_version() >= 6));
}

TEST_CASE("a store that is not there is no way out: nothing can be opened") {
    if (lacks_landlock()) {
        return;
    }
    CHECK(restricted("/nonexistent", [] { return opens("/etc/passwd", O_RDONLY); }) == EACCES);
    CHECK(restricted("/nonexistent", [] { return opens("/", O_RDONLY | O_DIRECTORY); }) == EACCES);
}

#ifndef JOBLET_SANITIZE // a filter is installed
TEST_CASE("a kernel without Landlock is told from one that fails, and the doctor says what is lost") {
    const auto answer_to = [](int error) {
        const std::array rows = {SyscallRefusal{SYS_landlock_create_ruleset, "landlock_create_ruleset", error, "as if the kernel said so"}};
        const auto filter = compile_filter({}, rows, OtherCalls::LeaveToAllowlist);
        REQUIRE(filter);
        const pid_t child = ::fork();
        if (child == 0) {
            ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if (install_filter(*filter) != 0) {
                ::_exit(99);
            }
            const auto done = restrict_files_to("/tmp");
            ::_exit(!done ? 2 : *done == Landlock::KernelHasNone ? 1 : 0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    };
    CHECK(answer_to(ENOSYS) == 1);     // older than 5.13
    CHECK(answer_to(EOPNOTSUPP) == 1); // switched off
    CHECK(answer_to(EPERM) == 2);      // no reason to go on without

    CHECK(own_files_check(Landlock::On).ok);
    const auto without = own_files_check(Landlock::KernelHasNone);
    CHECK_FALSE(without.ok);
    CHECK(without.detail.find("Landlock") != std::string::npos);
    CHECK_FALSE(without.lost.empty());
    CHECK(without.remedy.find("lsm=") != std::string::npos);
}
#endif

} // namespace joblet::api
