// What jobletd needs under a service manager: which group it is in, and to say when it is ready.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "broker-root/jobletd/cgroup_places.h"
#include "broker-root/jobletd/service_manager.h"

namespace joblet::jobletd {
namespace {

class TemporaryDirectory {
  public:
    TemporaryDirectory() : path_((std::filesystem::temp_directory_path() / "joblet-unit-XXXXXX").string()) {
        REQUIRE(::mkdtemp(path_.data()) != nullptr);
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    [[nodiscard]] const std::string& path() const {
        return path_;
    }

  private:
    std::string path_;
};

// A manager's end. `name` as in NOTIFY_SOCKET.
Fd listen_at(const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(&address.sun_path[0], name.size());
    if (name.starts_with('@')) {
        address.sun_path[0] = '\0';
    }
    Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0);
    return socket;
}

// The next datagram; "" if there is none.
std::string received(const Fd& socket) {
    std::array<char, 64> text{};
    const ssize_t size = ::recv(socket.get(), text.data(), text.size(), 0);
    return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

TEST_CASE("service manager: it is told once, at a path and at an abstract name") {
    const TemporaryDirectory directory;
    for (const std::string& name : {directory.path() + "/notify", "@" + directory.path()}) {
        CAPTURE(name);
        const Fd manager = listen_at(name);
        auto connected = ServiceManager::connect(name.c_str());
        REQUIRE(connected);
        connected->try_again();
        CHECK(received(manager).empty()); // nobody has said so yet
        connected->ready();
        CHECK(received(manager) == "READY=1");
        connected->ready();
        connected->try_again();
        CHECK(received(manager).empty());
        CHECK_FALSE(connected->has_unsent());
    }
}

TEST_CASE("service manager: one that has no room is told when it has, and nobody waits for it") {
    const TemporaryDirectory directory;
    const std::string name = directory.path() + "/notify";
    const Fd manager = listen_at(name);
    auto connected = ServiceManager::connect(name.c_str());
    REQUIRE(connected);
    // Until its queue is full
    const Fd filler(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(&address.sun_path[0], name.size());
    REQUIRE(::connect(filler.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    while (::send(filler.get(), "x", 1, 0) == 1) {
    }
    REQUIRE(errno == EAGAIN);
    connected->ready();
    CHECK(connected->has_unsent());
    while (received(manager) == "x") {
    }
    connected->try_again();
    CHECK_FALSE(connected->has_unsent());
    CHECK(received(manager) == "READY=1");
}

TEST_CASE("service manager: without one nothing is said, and one that cannot be reached is an error") {
    auto nobody = ServiceManager::connect(nullptr);
    REQUIRE(nobody);
    nobody->ready();
    CHECK_FALSE(nobody->has_unsent());
    for (const std::string& name : {std::string("/var/lib/there-is-no-such-socket"), std::string("relative"), std::string(),
                                    "/" + std::string(sizeof(sockaddr_un::sun_path), 'x'), std::string("@joblet-there-is-none")}) {
        CAPTURE(name);
        const auto refused = ServiceManager::connect(name.c_str());
        REQUIRE_FALSE(refused);
        CHECK(refused.error().find("NOTIFY_SOCKET") != std::string::npos);
    }
}

TEST_CASE("cgroup places: the group of cgroup2 is found among those of the others") {
    CHECK(group_in("0::/system.slice/joblet.service\n") == "system.slice/joblet.service");
    CHECK(group_in("12:pids:/a\n1:name=systemd:/b\n0::/c/d\n") == "c/d");
    CHECK(group_in("0::/\n") == "");
    CHECK(group_in("0::/no-newline") == "no-newline");
    CHECK_FALSE(group_in("0::/../above\n"));
    CHECK_FALSE(group_in("0::/..\n"));
    CHECK_FALSE(group_in("4:memory:/a\n"));
    CHECK_FALSE(group_in(""));
    CHECK_FALSE(group_in("10::/a\n"));
    CHECK(group_in("0::/..hidden/x\n") == "..hidden/x");
}

TEST_CASE("cgroup places: what would be ended together with a group lies in it") {
    CHECK(lies_in("a/b", "a/b"));
    CHECK(lies_in("a/b/c", "a/b"));
    CHECK(lies_in("a", ""));
    CHECK_FALSE(lies_in("a/bc", "a/b"));
    CHECK_FALSE(lies_in("a", "a/b"));
    CHECK_FALSE(lies_in("b/a", "a"));
}

TEST_CASE("cgroup places: a group is opened below the top, and no link leads out of it") {
    const TemporaryDirectory directory;
    const std::filesystem::path top = directory.path();
    std::filesystem::create_directories(top / "a/b");
    std::filesystem::create_directory_symlink(top / "a", top / "link");
    const Fd opened(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const auto group = open_group(opened.get(), "a/b");
    REQUIRE(group);
    struct stat found{};
    struct stat wanted{};
    REQUIRE(::fstat(group->get(), &found) == 0);
    REQUIRE(::stat((top / "a/b").c_str(), &wanted) == 0);
    CHECK(found.st_ino == wanted.st_ino);
    CHECK_FALSE(open_group(opened.get(), "link/b"));
    CHECK_FALSE(open_group(opened.get(), "link"));
    CHECK(open_group(opened.get(), "a/c").error() == ENOENT);
    CHECK(open_group(opened.get(), "a/../..").error() == EINVAL);
}

} // namespace
} // namespace joblet::jobletd
