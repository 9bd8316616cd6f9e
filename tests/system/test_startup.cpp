// What stops a daemon from starting: descriptors that nobody should have given it, directories in which somebody else has a hand,
// programs that others can write to.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>

#include <fmt/format.h>

#include "shared/datagram.h"
#include "tests/system/installation.h"
#include "tests/system/members.h"

namespace joblet::testing {

namespace fs = std::filesystem;

TEST_SUITE_BEGIN("startup");

namespace {

constexpr uid_t kSomebody = 20003;

// A root as an administrator would choose it, with nothing in it yet.
class Folder {
  public:
    Folder() {
        if (::mkdtemp(path_.data()) == nullptr) {
            throw std::runtime_error("no directory below /var/lib");
        }
        ::chmod(path_.c_str(), 0755);
    }
    ~Folder() {
        std::error_code error;
        fs::remove_all(path_, error);
        CHECK_MESSAGE(!error, error.message());
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    [[nodiscard]] const std::string& path() const {
        return path_;
    }

  private:
    std::string path_ = "/var/lib/joblet-start.XXXXXX"; // not below /tmp, which others can write to
};

// The program with exactly these descriptors from 3 on.
Outcome start_with(const std::string& program, const std::string& root, std::span<const int> descriptors, uid_t uid) {
    const Fd errors(::memfd_create("errors", MFD_CLOEXEC));
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        constexpr int kAside = 100;
        const int null = ::open("/dev/null", O_RDWR);
        ::dup2(errors.get(), STDERR_FILENO);
        ::dup2(null, STDIN_FILENO);
        ::dup2(null, STDOUT_FILENO);
        int next = kAside;
        for (const int descriptor : descriptors) {
            ::dup2(descriptor, next++);
        }
        next = 3;
        for (std::size_t i = 0; i < descriptors.size(); ++i, ++next) {
            ::dup2(kAside + static_cast<int>(i), next);
        }
        ::close_range(static_cast<unsigned>(next), UINT_MAX, 0);
        if (uid != 0 && (::setresgid(uid, uid, uid) != 0 || ::setresuid(uid, uid, uid) != 0)) {
            ::_exit(98);
        }
        ::execl(program.c_str(), program.c_str(), "--root", root.c_str(), nullptr);
        ::_exit(97);
    }
    int status = 0;
    if (!becomes_true([&] { return ::waitpid(child, &status, WNOHANG) == child; })) {
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
    }
    Outcome outcome;
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    std::array<char, 4096> text{};
    const ssize_t size = ::pread(errors.get(), text.data(), text.size(), 0);
    outcome.err.assign(text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    return outcome;
}

Outcome start_jobletd(const std::string& root, const std::string& program = binary("jobletd")) {
    return run({{program, "--root", root}}, seconds(10));
}

} // namespace

TEST_CASE("case_13: broker and API with a descriptor more than jobletd gives refuse to start") {
    const Folder folder;
    fs::copy_file(binary("joblet-api"), folder.path() + "/joblet-api"); // the build may lie where ordinary users cannot go
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const auto [ours, theirs] = make_seqpacket_pair();
    const std::array broker = {null.get(), null.get(), null.get(), null.get()};
    const std::array api = {theirs.get(), null.get()};

    const auto too_many = start_with(binary("joblet-broker"), folder.path(), broker, 0);
    CHECK(too_many.status == 1);
    CHECK(too_many.err.find("other descriptors than jobletd gives") != std::string::npos);
    // With one less it comes as far as looking for its socket
    const auto right = start_with(binary("joblet-broker"), folder.path(), std::span(broker).first(3), 0);
    CHECK(right.status == 1);
    CHECK(right.err.find("descriptors") == std::string::npos);
    CHECK(right.err.find("socket") != std::string::npos);

    const auto api_too_many = start_with(folder.path() + "/joblet-api", folder.path(), api, kSomebody);
    CHECK(api_too_many.status == 78);
    CHECK(api_too_many.err.find("the broker's socket alone") != std::string::npos);
    const auto api_as_root = start_with(binary("joblet-api"), folder.path(), std::span(api).first(1), 0);
    CHECK(api_as_root.status == 78);
    CHECK(api_as_root.err.find("without privileges") != std::string::npos);
}

TEST_CASE("case_17: whatever jobletd was started with, none of it reaches a daemon or a job") {
    const Folder folder;
    const std::string marker = folder.path() + "/leaked";
    std::ofstream(marker) << "x";
    std::vector<Fd> leaked;
    leaked.reserve(200);
    for (int i = 0; i < 200; ++i) {
        leaked.emplace_back(::open(marker.c_str(), O_RDONLY)); // NOLINT(android-cloexec-open): it is to be inherited
    }
    const Installation here;
    leaked.clear();
    Process job(here.shell_command({}, "echo ready; exec sleep 600"));
    REQUIRE(job.wait_for_output("ready"));
    std::size_t looked_at = 0;
    for (const auto& member : members_of(here)) {
        for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", member.pid))) {
            std::error_code gone;
            const auto target = fs::read_symlink(entry.path(), gone).string();
            INFO(member.process, " has ", target);
            CHECK(target.find(marker) == std::string::npos);
            ++looked_at;
        }
    }
    CHECK(looked_at > 20);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 128 + SIGTERM);
}

TEST_CASE("case_14: a directory on the way, or one of ours, that somebody else owns or can write to stops the start and is named") {
    struct Row {
        const char* path;
        mode_t mode;
        uid_t owner;
        const char* says;
    };
    constexpr std::array kRows = {
        // above the store, the jobs, the sockets, the configuration and the logs
        Row{"", 0777, 0, "writable by others"},
        Row{"", 0755, kSomebody, "belongs to uid 20003"},
        Row{"/var", 0775, 0, "writable by others"},
        Row{"/var/lib", 0755, kSomebody, "belongs to uid 20003"},
        Row{"/opt", 01777, 0, "writable by others"},
        Row{"/opt/joblet", 0755, kSomebody, "belongs to uid 20003"},
        Row{"/run", 0757, 0, "writable by others"},
        Row{"/etc", 0755, kSomebody, "belongs to uid 20003"},
        Row{"/var/log", 0777, 0, "writable by others"},
        // ours
        Row{"/etc/joblet", 0775, 0, "chmod 0755"},
        Row{"/var/lib/joblet", 0755, 0, "chmod 0711"},
        Row{"/var/lib/joblet", 0711, kSomebody, "chown -R 0:0"},
        Row{"/var/lib/joblet/volumes", 0711, 0, "chmod 0700"},
        Row{"/var/lib/joblet/volumes", 0700, kSomebody, "chown -R 0:0"},
        Row{"/var/lib/joblet/trash", 0750, 0, "chmod 0700"},
        Row{"/var/lib/joblet/staging", 0701, 0, "chmod 0700"},
        Row{"/var/lib/joblet/api", 0700, kSomebody, "belongs to uid 20003"},
        Row{"/var/lib/joblet/bases", 0777, 0, "chmod 0755"},
        Row{"/var/lib/joblet/bases", 0755, kSomebody, "chown -R 0:0"},
        Row{"/opt/joblet/jobs", 0755, 0, "chmod 0711"},
        Row{"/run/joblet", 0777, 0, "chmod 0755"},
        Row{"/run/joblet/jobs", 0711, 0, "chmod 0700"},
        Row{"/var/log/joblet", 0755, 0, "chmod 0750"},
    };
    for (const auto& [path, mode, owner, says] : kRows) {
        CAPTURE(path);
        CAPTURE(says);
        const Folder folder;
        const std::string wrong = folder.path() + path;
        // What lies above has the mode that it should, whatever the umask of this test
        for (auto at = folder.path().size(); at != std::string::npos && at < wrong.size();) {
            at = wrong.find('/', at + 1);
            const auto directory = wrong.substr(0, at);
            fs::create_directory(directory);
            const bool is_store = directory == folder.path() + "/var/lib/joblet";
            REQUIRE(::chmod(directory.c_str(), is_store ? 0711 : 0755) == 0);
        }
        REQUIRE(::chown(wrong.c_str(), owner, owner) == 0);
        REQUIRE(::chmod(wrong.c_str(), mode) == 0);
        const auto outcome = start_jobletd(folder.path());
        CHECK(outcome.status == 1);
        CHECK_MESSAGE(outcome.err.find(wrong + " ") != std::string::npos, outcome.err);
        CHECK_MESSAGE(outcome.err.find(says) != std::string::npos, outcome.err);
    }
}

TEST_CASE("case_10: a symbolic link in the place of one of our directories stops the start, wherever it leads") {
    for (const char* path :
         {"/var", "/var/lib/joblet", "/var/lib/joblet/volumes", "/var/lib/joblet/bases", "/run/joblet", "/opt/joblet/jobs"}) {
        CAPTURE(path);
        const Folder folder;
        const Folder elsewhere;
        const std::string link = folder.path() + path;
        fs::create_directories(fs::path(link).parent_path());
        for (auto above = fs::path(link).parent_path(); above.string().size() > folder.path().size(); above = above.parent_path()) {
            ::chmod(above.c_str(), above.filename() == "joblet" && above.parent_path().filename() == "lib" ? 0711 : 0755);
        }
        fs::create_directory_symlink(elsewhere.path(), link);
        const auto outcome = start_jobletd(folder.path());
        CHECK(outcome.status == 1);
        CHECK_MESSAGE(outcome.err.find(link + " is a symbolic link") != std::string::npos, outcome.err);
        CHECK(fs::is_empty(elsewhere.path()));
    }
}

TEST_CASE("a program beside jobletd that others can write to, or that is missing, stops the start and is named") {
    const Folder folder;
    for (const char* program : {"jobletd", "joblet-broker", "joblet-worker", "joblet-spawner", "joblet-api"}) {
        fs::copy_file(binary(program), folder.path() + "/" + program);
        REQUIRE(::chmod((folder.path() + "/" + program).c_str(), 0755) == 0);
    }
    const std::string worker = folder.path() + "/joblet-worker";
    const auto refusal = [&folder] {
        const auto outcome = start_jobletd(folder.path() + "/root", folder.path() + "/jobletd");
        CHECK(outcome.status == 1);
        CHECK_FALSE(fs::exists(folder.path() + "/root")); // nothing was made yet
        return outcome.err;
    };
    REQUIRE(::chmod(worker.c_str(), 0775) == 0);
    CHECK(refusal().find("joblet-worker beside jobletd") != std::string::npos);
    REQUIRE(::chmod(worker.c_str(), 0755) == 0);
    REQUIRE(::chown(worker.c_str(), kSomebody, 0) == 0);
    CHECK(refusal().find("joblet-worker beside jobletd") != std::string::npos);
    fs::remove(worker);
    CHECK(refusal().find("joblet-worker is not beside jobletd") != std::string::npos);
    fs::create_symlink(binary("joblet-worker"), worker);
    CHECK(refusal().find("joblet-worker beside jobletd") != std::string::npos);
}

TEST_SUITE_END();

} // namespace joblet::testing
