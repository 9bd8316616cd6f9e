// What jobs' roots are made of: bases that are refused because others could change them, and the host's.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <set>

#include "broker-root/jobletd/install_host.h"
#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;

namespace {

// By name, whether it is usable.
std::map<std::string, bool> bases_of(WorkerProcess& worker) {
    std::map<std::string, bool> out;
    for (const auto& base : worker.load_bases()) {
        out[base.name.string()] = base.is_usable == 1;
    }
    return out;
}

void make_base(const fs::path& at) {
    fs::create_directories(at / "usr/bin");
    fs::create_directory(at / "etc");
    fs::create_symlink("usr/bin", at / "bin");
}

// Standard output of a program in the template, or how it failed.
std::string run_inside(const Fd& mount_namespace, std::vector<const char*> words) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const Fd reading(ends[0]);
    Fd writing(ends[1]);
    words.push_back(nullptr);
    const int status = in_namespace(mount_namespace.get(), [&] {
        ::dup2(writing.get(), STDOUT_FILENO);
        ::execv(words[0], const_cast<char* const*>(words.data())); // NOLINT(cppcoreguidelines-pro-type-const-cast)
        return 127;
    });
    writing.reset();
    std::string said;
    std::array<char, 4096> buffer{};
    for (ssize_t size = 0; (size = ::read(reading.get(), buffer.data(), buffer.size())) > 0;) {
        said.append(buffer.data(), static_cast<std::size_t>(size));
    }
    return status == 0 ? said : "exit status " + std::to_string(status);
}

// The log of a worker that is started and ended again.
std::string log_of_worker(const Installation& installation) {
    const fs::path file = installation.root() / "log";
    {
        const Fd log(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        const Fd before(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10));
        ::dup2(log.get(), STDERR_FILENO);
        WorkerProcess worker(installation);
        ::dup2(before.get(), STDERR_FILENO);
        worker.load_bases();
    }
    return read_text(file);
}

void install_host(const Installation& installation) {
    const auto done = jobletd::install_host_base({installation.root()});
    REQUIRE(done);
}

// A template on the base `host`, of a worker that ends before it is used: it is the job's.
Fd host_template(const Installation& installation, Surroundings surroundings = Surroundings::Plain) {
    WorkerProcess worker(installation, surroundings);
    CHECK(bases_of(worker).at("host"));
    auto order = make_prepare({}, Access::ReadWrite);
    order.base = NameText("host");
    const Fd user_namespace = make_volume_user_namespace(kWorkerTestSlot);
    const int descriptor = user_namespace.get();
    auto reply = worker.order(order, std::span(&descriptor, 1));
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    return std::move(reply.descriptors[kTemplate]);
}

} // namespace

TEST_CASE("each configured base is told, with whether it can be used") {
    const Installation installation;
    const fs::path& root = installation.root();
    make_base(root / "srv/web");
    write_text(root / "etc/joblet/broker.toml",
               "[bases]\nweb = \"" + (root / "srv/web").string() + "\"\nnone = \"" + (root / "srv/none").string() + "\"\n");
    WorkerProcess worker(installation);
    CHECK(bases_of(worker) == std::map<std::string, bool>{{"host", false}, {"minimal", true}, {"none", false}, {"web", true}});
}

TEST_CASE("a base that others than root could change is refused, and the log names the path") {
    const Installation installation;
    const fs::path& root = installation.root();
    const fs::path base = root / "srv/web";
    make_base(base);
    write_text(root / "etc/joblet/broker.toml", "[bases]\nweb = \"" + base.string() + "\"\n");
    fs::path blamed;
    std::string because;
    SUBCASE("usr is a symbolic link") {
        fs::rename(base / "usr", root / "srv/usr");
        fs::create_symlink(root / "srv/usr", base / "usr");
        blamed = base / "usr";
        because = "is a symbolic link";
    }
    SUBCASE("etc is writable by anybody") {
        fs::permissions(base / "etc", fs::perms::others_write, fs::perm_options::add);
        blamed = base / "etc";
        because = "is writable by others than root (mode 0757)";
    }
    SUBCASE("etc is writable by its group") {
        fs::permissions(base / "etc", fs::perms::group_write, fs::perm_options::add);
        blamed = base / "etc";
        because = "is writable by others than root (mode 0775)";
    }
    SUBCASE("usr belongs to somebody else") {
        REQUIRE(::chown((base / "usr").c_str(), 1234, 0) == 0);
        blamed = base / "usr";
        because = "belongs to uid 1234";
    }
    SUBCASE("it belongs to somebody else itself") {
        REQUIRE(::chown(base.c_str(), 1234, 0) == 0);
        blamed = base;
        because = "belongs to uid 1234";
    }
    SUBCASE("anybody could make entries in it, though take none away") {
        REQUIRE(::chmod(base.c_str(), 01777) == 0);
        blamed = base;
        because = "is writable by others than root (mode 1777)";
    }
    SUBCASE("it lies below a directory that is writable by anybody") {
        REQUIRE(::chmod((root / "srv").c_str(), 0777) == 0);
        blamed = root / "srv";
        because = "is writable by others than root (mode 0777)";
    }
    SUBCASE("it lies below a directory of somebody else's") {
        REQUIRE(::chown((root / "srv").c_str(), 1234, 0) == 0);
        blamed = root / "srv";
        because = "belongs to uid 1234";
    }
    SUBCASE("it lies below a symbolic link") {
        fs::rename(root / "srv", root / "elsewhere");
        fs::create_symlink("elsewhere", root / "srv");
        blamed = root / "srv";
        because = "is a symbolic link";
    }
    SUBCASE("it is a symbolic link") {
        fs::rename(base, root / "srv/real");
        fs::create_symlink("real", base);
        blamed = base;
        because = "is a symbolic link";
    }
    SUBCASE("it is a file") {
        fs::remove_all(base);
        write_text(base, "x");
        blamed = base;
        because = "is no directory";
    }
    SUBCASE("sbin is a file") {
        write_text(base / "sbin", "x");
        blamed = base / "sbin";
        because = "is no directory";
    }
    WorkerProcess worker(installation);
    CHECK_FALSE(bases_of(worker).at("web"));
    const std::string log = log_of_worker(installation);
    CAPTURE(log);
    CHECK(log.find("the base web cannot be used: " + blamed.string() + " " + because) != std::string::npos);

    auto order = make_prepare({}, Access::ReadWrite);
    order.base = NameText("web");
    const Fd user_namespace = make_volume_user_namespace(kWorkerTestSlot);
    const int descriptor = user_namespace.get();
    const auto reply = worker.order(order, std::span(&descriptor, 1));
    CHECK(reply.answer.code == ErrorCode::Unsupported);
    CHECK(reply.answer.step == Step::BuildTemplate);
}

TEST_CASE("above a base a sticky directory of root's may be writable, and its own tmp, too") {
    const Installation installation;
    const fs::path base = installation.root() / "srv/web";
    make_base(base);
    fs::create_directory(base / "tmp");
    REQUIRE(::chmod((base / "tmp").c_str(), 01777) == 0);
    REQUIRE(::chmod(base.parent_path().c_str(), 01777) == 0);
    write_text(installation.root() / "etc/joblet/broker.toml", "[bases]\nweb = \"" + base.string() + "\"\n");
    WorkerProcess worker(installation);
    CHECK(bases_of(worker).at("web"));
}

TEST_CASE("a base whose entry became writable after the start is refused for the next template") {
    World world;
    world.worker.load_bases();
    fs::permissions(world.installation.state() / "bases/minimal/etc", fs::perms::others_write, fs::perm_options::add);
    CHECK(world.prepare(make_prepare({}, Access::ReadWrite)).answer.step == Step::BuildTemplate);
}

TEST_CASE("programs of the host run on the host's base") {
    const Installation installation;
    install_host(installation);
    const Fd host = host_template(installation);
    CHECK(run_inside(host, {"/usr/bin/env", "-i", "A=b"}) == "A=b\n");
    CHECK(run_inside(host, {"/bin/sh", "-c", "echo $((6 * 7))"}) == "42\n");
    CHECK(run_inside(host, {"/usr/bin/id", "-un"}) == "root\n");
    std::set<std::string> names = {"usr", "etc", "proc", "dev", "tmp", "work", "volumes"};
    for (const char* const name : {"bin", "sbin", "lib", "lib64"}) {
        if (fs::exists(std::string("/") + name)) {
            names.insert(name);
        }
    }
    std::string listed;
    for (const auto& name : names) {
        listed += name + "\n";
    }
    CHECK(run_inside(host, {"/bin/ls", "/"}) == listed);
}

TEST_CASE("the host's base shows of the host's etc what its table says, and nothing else") {
    const Installation installation;
    install_host(installation);
    const Fd host = host_template(installation);
    std::set<std::string> expected;
    for (const auto& row : jobletd::host_base_rows()) {
        if (row.path != "etc" && (row.kind != jobletd::HostBaseRow::Kind::Copy || fs::is_regular_file(row.says))) {
            expected.insert("/" + std::string(row.path));
        }
    }
    std::string found = run_inside(host, {"/usr/bin/find", "/etc", "-mindepth", "1", "-path", "/etc/ssl/certs/*", "-prune", "-o", "-path",
                                          "/etc/alternatives/*", "-prune", "-o", "-print"});
    std::set<std::string> names;
    for (std::size_t at = 0, end = 0; (end = found.find('\n', at)) != std::string::npos; at = end + 1) {
        names.insert(found.substr(at, end - at));
    }
    CHECK(names == expected);
    for (const char* const bound : {"/etc/ssl/certs", "/etc/alternatives"}) {
        const std::string list =
            std::string("find ") + bound + " -mindepth 1 | sort | cksum"; // a pipe that is read at the end holds no long list
        CHECK(run_inside(host, {"/bin/sh", "-c", list.c_str()}) ==
              run_command({"sh", "-c", fs::is_directory(bound) ? list : "cksum </dev/null"}));
    }
    CHECK(run_inside(host, {"/bin/cat", "/etc/os-release"}) == read_text("/etc/os-release"));
}

TEST_CASE("nothing of the host's base can be changed from inside, by root neither") {
    const Installation installation;
    install_host(installation);
    const Fd host = host_template(installation);
    const int status = in_namespace(host.get(), [] {
        int failed = 1;
        for (const char* const path :
             {"/", "/usr", "/usr/bin", "/bin", "/lib", "/etc", "/etc/ssl", "/etc/ssl/certs", "/etc/alternatives"}) {
            struct statvfs flags{};
            const bool good = !fs::exists(path) || (::statvfs(path, &flags) == 0 && (flags.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV)) ==
                                                                                        (ST_RDONLY | ST_NOSUID | ST_NODEV));
            if (!good || (::mkdir((std::string(path) + "/new").c_str(), 0755) == 0 || (errno != EROFS && errno != ENOENT))) {
                return failed;
            }
            ++failed;
        }
        return 0;
    });
    CHECK(status == 0);
}

TEST_CASE("the host's base is refused where its own etc could be changed by others") {
    const Installation installation;
    install_host(installation);
    fs::permissions(installation.state() / "bases/host/etc/ssl", fs::perms::others_write, fs::perm_options::add);
    WorkerProcess worker(installation);
    CHECK_FALSE(bases_of(worker).at("host"));
    CHECK(bases_of(worker).at("minimal"));
    CHECK(log_of_worker(installation).find("bases/host/etc/ssl is writable by others") != std::string::npos);
}

TEST_CASE("a host whose bin and lib are no links, and that has no certificates, is shown as it is") {
    const Installation installation;
    install_host(installation);
    const fs::path host_root = installation.root() / "chroot";
    fs::create_directory(host_root / "bin");
    write_text(host_root / "bin/tool", "of bin");
    fs::create_directory(host_root / "lib");
    write_text(host_root / "lib/part", "of lib");
    fs::create_symlink("usr/lib64", host_root / "lib64");
    const Fd host = host_template(installation, Surroundings::Chroot);
    const int status = in_namespace(host.get(), [] {
        const bool programs = read_text("/bin/tool") == "of bin" && read_text("/lib/part") == "of lib" && !fs::exists("/sbin") &&
                              fs::read_symlink("/lib64") == "usr/lib64" && fs::exists("/usr/bin/env");
        return programs && fs::is_empty("/etc/ssl/certs") && fs::is_empty("/etc/alternatives") ? 0 : 1;
    });
    CHECK(status == 0);
}

TEST_CASE("a host whose bin anybody could change is no base") {
    const Installation installation;
    install_host(installation);
    fs::create_directory(installation.root() / "chroot/bin");
    REQUIRE(::chmod((installation.root() / "chroot/bin").c_str(), 0777) == 0);
    WorkerProcess worker(installation, Surroundings::Chroot);
    CHECK_FALSE(bases_of(worker).at("host"));
}
