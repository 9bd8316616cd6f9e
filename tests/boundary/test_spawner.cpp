// The real spawner, its stages and real jobs: what the inside looks like, how they end, and what fails how.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "broker-root/kernel/mount.h"
#include "broker-root/layout.h"
#include "tests/boundary/spawner_harness.h"
#include "tests/guest/expectations.h"

namespace joblet::testing {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using worker::JobKind;

JobOptions run_of(std::vector<std::string> arguments) {
    JobOptions options;
    options.spec.arguments = std::move(arguments);
    return options;
}

JobOptions guest(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "/guest/joblet-guest");
    return run_of(std::move(arguments));
}

// A spawner with one slot
struct World {
    SpawnerProcess spawner;
    Slot slot = make_slot(spawner);

    TestJob start(JobOptions options) {
        return TestJob(spawner, slot, std::move(options));
    }
    ExitRecord end_of(JobOptions options) {
        auto job = start(std::move(options));
        job.read_output();
        REQUIRE(job.finish());
        const auto record = job.agreed();
        REQUIRE(record);
        return *record;
    }
    json report_of(JobOptions options) {
        auto job = start(std::move(options));
        const std::string text = job.read_output();
        REQUIRE(job.finish());
        REQUIRE(job.agreed());
        INFO(text);
        CHECK(job.agreed()->kind == ExitKind::Exited);
        CHECK(job.agreed()->code == 0);
        return json::parse(text);
    }
};

std::vector<std::string> words(std::string_view text, char at) {
    std::vector<std::string> out;
    std::istringstream in{std::string(text)};
    for (std::string word; std::getline(in, word, at);) {
        out.push_back(word);
    }
    return out;
}

bool holds(const json& list, std::string_view word) {
    return std::ranges::any_of(list, [&](const json& entry) { return entry.get<std::string>() == word; });
}

std::string status_field(pid_t pid, const std::string& key) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(key + ":")) {
            const auto begin = line.find_first_not_of(" \t", key.size() + 1);
            return begin == std::string::npos ? "" : line.substr(begin);
        }
    }
    return {};
}

// A directory of the host's, outside /tmp, gone at the end
struct HostDirectory {
    fs::path path = "/var/lib/joblet-test-" + std::to_string(::getpid());
    HostDirectory() {
        fs::create_directory(path);
    }
    ~HostDirectory() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

TestVolume foreign_volume(const HostDirectory& host, const Slot& slot, int user_namespace, std::string target = "") {
    const fs::path path = host.path / "volume";
    fs::create_directory(path);
    REQUIRE(::chown(path.c_str(), kForeignFirst, kForeignFirst) == 0);
    REQUIRE(::chmod(path.c_str(), 0700) == 0);
    auto mount = kernel::clone_mount(AT_FDCWD, path.c_str());
    REQUIRE(mount);
    REQUIRE(kernel::set_attributes(mount->get(), kernel::Attributes::NoSuidNoDev));
    REQUIRE(kernel::idmap_mount(mount->get(), user_namespace < 0 ? slot.volume.get() : user_namespace));
    return {"data", std::move(target), std::move(*mount)};
}

} // namespace

// ---------------------------------------------------------------- inside

TEST_CASE("a job owns nothing: namespaces, ids, capabilities and filter are as the table says") {
    World world;
    const json report = world.report_of(guest({"report"}));

    for (const auto name : guest::kOwnNamespaces) {
        std::array<char, 64> own{};
        REQUIRE(::readlink(("/proc/self/ns/" + std::string(name)).c_str(), own.data(), own.size() - 1) > 0);
        INFO(name);
        CHECK(report["namespaces"][std::string(name)] != own.data());
        CHECK(!report["namespaces"][std::string(name)].get<std::string>().empty());
    }
    CHECK(report["uid"] == json({0, 0, 0}));
    CHECK(report["gid"] == json({0, 0, 0}));
    CHECK(report["groups"].empty());
    CHECK(report["uid_map"] == json({{0, kTestSlot, guest::kSlotSize}}));
    CHECK(report["gid_map"] == report["uid_map"]);
    for (const auto set : guest::kCapabilitySets) {
        INFO(set);
        CHECK(report["capabilities"][std::string(set)] == guest::kNoCapabilities);
    }
    CHECK(report["no_new_privs"] == 1);
    CHECK(report["seccomp"] == guest::kSeccompFilter);
    CHECK(report["signals"]["blocked"] == guest::kNoSignals);
    CHECK(report["signals"]["ignored"] == guest::kNoSignals);
    CHECK(report["umask"] == guest::kUmask);
    CHECK(report["cwd"] == "/work");
    CHECK(report["hostname"] == "testhost");
    CHECK(report["ppid"] == 1);
    CHECK(report["session"] == report["pid"]);
    CHECK(report["pgid"] == report["pid"]);
    CHECK(report["cgroup"].get<std::string>().ends_with("0::/\n"));
    CHECK(report["environment"] == json({{"PATH", "/guest:/usr/bin"}, {"HOME", "/work"}}));
}

TEST_CASE("case_17: a job sees exactly descriptors 0, 1 and 2") {
    World world;
    const json report = world.report_of(guest({"report"}));
    REQUIRE(report["descriptors"].size() == 3);
    CHECK(report["descriptors"][0]["type"] == "character device");
    CHECK(report["descriptors"][1]["type"] == "pipe");
    CHECK(report["descriptors"][2]["type"] == "pipe");
}

TEST_CASE("every mount of a job has the flags that the table says, and nothing is writable that should not be") {
    World world;
    HostDirectory host;
    auto options = guest({"report"});
    options.volumes.push_back(foreign_volume(host, world.slot, -1, "/data"));
    const json report = world.report_of(std::move(options));

    for (const auto& mount : report["mounts"]) {
        const auto target = mount["target"].get<std::string>();
        INFO(target, " ", mount.dump());
        for (const auto& flag :
             words(target.starts_with(guest::kDevices) && target != "/dev/shm" ? guest::kDeviceMountFlags : guest::kAnyMountFlags, ',')) {
            CHECK(holds(mount["flags"], flag));
        }
    }
    for (const auto& expected : guest::kMounts) {
        const auto found = std::ranges::find_if(report["mounts"], [&](const json& mount) { return mount["target"] == expected.target; });
        INFO(expected.target);
        REQUIRE(found != report["mounts"].end());
        CHECK((*found)["fstype"] == expected.fstype);
        for (const auto& flag : words(expected.flags, ',')) {
            INFO(flag);
            CHECK(holds((*found)["flags"], flag));
        }
        for (const auto& flag : words(expected.forbidden, ',')) {
            INFO(flag);
            CHECK_FALSE(holds((*found)["flags"], flag));
        }
        if (expected.target == "/proc") {
            for (const auto option : guest::kProcOptions) {
                CHECK(holds((*found)["super_options"], option));
            }
        }
    }
    for (const auto& expected : guest::kDirectories) {
        const json& found = report["directories"][std::string(expected.path)];
        INFO(expected.path);
        REQUIRE(found.is_null() != expected.exists);
        if (expected.exists) {
            CHECK(found["writable"] == expected.writable);
            if (!expected.mode.empty()) {
                CHECK(found["mode"] == expected.mode);
            }
        }
    }
    CHECK(report["directories"]["/volumes/data"]["writable"] == true);
    CHECK(report["directories"]["/work"]["bytes"] == 1 << 20);
}

TEST_CASE("what a job tries and may not do is refused, and pid 1 outlives it") {
    World world;
    HostDirectory host;
    auto options = guest({"attempts", "/volumes/data"});
    options.volumes.push_back(foreign_volume(host, world.slot, -1));
    const json answers = world.report_of(std::move(options));

    CHECK(answers.size() == guest::kAnswers.size());
    for (const auto& expected : guest::kAnswers) {
        INFO(expected.attempt);
        const std::string answer = answers.value(std::string(expected.attempt), "not tried");
        CHECK((answer == expected.answer || (!expected.other.empty() && answer == expected.other)));
        if (answer != expected.answer && answer != expected.other) {
            MESSAGE(expected.attempt, " gave ", answer);
        }
    }
}

TEST_CASE("case_39: what a job makes belongs on the host to the foreign range, at both places of the volume") {
    World world;
    HostDirectory host;
    auto options = run_of({"/bin/sh", "-c", "echo x > /data/made && cat /volumes/data/made"});
    options.volumes.push_back(foreign_volume(host, world.slot, -1, "/data"));
    const auto record = world.end_of(std::move(options));
    CHECK(record.kind == ExitKind::Exited);
    CHECK(record.code == 0);
    struct stat made{};
    REQUIRE(::stat((host.path / "volume/made").c_str(), &made) == 0);
    CHECK(made.st_uid == kForeignFirst);
    CHECK(made.st_gid == kForeignFirst);
}

TEST_CASE("a system job has CHOWN, DAC_OVERRIDE and FOWNER in its own user namespace, and nothing else") {
    World world;
    auto options = guest({"report"});
    options.kind = JobKind::System;
    const json report = world.report_of(std::move(options));
    for (const auto set : guest::kCapabilitySets) {
        INFO(set);
        CHECK(report["capabilities"][std::string(set)] == guest::kSystemCapabilities);
    }
    CHECK(report["no_new_privs"] == 1);
    CHECK(report["seccomp"] == guest::kSeccompFilter);
    CHECK(report["uid_map"] == json({{0, kTestSlot, guest::kSlotSize}}));

    auto chown = run_of({"/bin/sh", "-c", "touch f && chown 5:6 f && chmod 600 f && echo x > f && stat -c %u:%g f"});
    chown.kind = JobKind::System;
    auto job = world.start(std::move(chown));
    CHECK(job.read_output() == "5:6\n");
    CHECK(job.finish());
}

TEST_CASE("case_37: pid 1 has an id that the job has not, no capability, and a filter of its own") {
    World world;
    auto job = world.start(guest({"sleep", "30"}));
    job.read_line();
    const pid_t pid = job.stage_pid();
    REQUIRE(pid > 0);
    for (int round = 0; round < 200 && status_field(pid, "Seccomp_filters") != "3"; ++round) {
        ::usleep(10'000); // it gives up its power while the command is being executed
    }
    CHECK(status_field(pid, "Name") == "joblet-init");
    const auto slot = std::to_string(kTestSlot);
    const auto nobody = std::to_string(kTestSlot + 65534);
    CHECK(status_field(pid, "Uid") == slot + "\t" + nobody + "\t" + nobody + "\t" + nobody);
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
        CHECK(status_field(pid, set) == guest::kNoCapabilities);
    }
    CHECK(status_field(pid, "NoNewPrivs") == "1");
    CHECK(status_field(pid, "Seccomp") == "2");
    std::set<std::string> open;
    for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
        open.insert(entry.path().filename());
    }
    for (const char* stdio : {"0", "1", "2"}) {
        CHECK(open.count(stdio) == 0);
    }
    job.signal_as_rnx(SIGKILL);
    CHECK(job.finish());
}

TEST_CASE("ordinary programs run: shells, Python with threads and sockets, Node, Java") {
    struct Program {
        const char* needs;
        std::vector<std::string> arguments;
        std::string output;
    };
    const std::vector<Program> programs = {
        {"/usr/bin/bash", {"bash", "-c", "for i in 1 2 3; do echo $i; done | sort -r | tr '\\n' ' '; trap 'echo bye' EXIT"}, "3 2 1 bye\n"},
        {"/usr/bin/bash",
         {"bash", "-c", "cp -r /usr/share/zoneinfo/Europe /tmp/ && tar cf /tmp/t.tar -C /tmp Europe && tar tf /tmp/t.tar | grep -c Rome"},
         "1\n"},
        {"/usr/bin/python3",
         {"python3", "-c",
          "import threading,socket,subprocess,multiprocessing,os\n"
          "s=socket.create_server(('127.0.0.1',0))\n"
          "t=threading.Thread(target=lambda: s.accept()[0].sendall(b'hello'))\n"
          "t.start()\n"
          "c=socket.create_connection(s.getsockname()); print(c.recv(9).decode()); t.join()\n"
          "print(subprocess.run(['echo','sub'],capture_output=True,text=True).stdout.strip())\n"
          "with multiprocessing.Pool(2) as p: print(p.map(abs,[-1,-2]))\n"},
         "hello\nsub\n[1, 2]\n"},
        {"/usr/bin/node",
         {"node", "-e", "require('fs').promises.writeFile('/tmp/n','x').then(()=>console.log(require('os').hostname()))"},
         "testhost\n"},
        {"/usr/bin/java", {"java", "-Xmx64m", "-XX:+UseSerialGC", "/work/Main.java"}, ""},
    };
    World world;
    for (const auto& program : programs) {
        if (!fs::exists(program.needs)) {
            MESSAGE("skipped: this machine has no ", program.needs);
            continue;
        }
        INFO(program.needs);
        auto options = run_of(program.arguments);
        std::string expected = program.output;
        if (expected.empty()) {
            options.spec.arguments = {
                "/bin/sh", "-c",
                "echo 'class Main { public static void main(String[] a) throws Exception { Thread t = new Thread(() -> "
                "System.out.println(\"java\")); t.start(); t.join(); } }' > Main.java && exec java -Xmx96m -Xshare:auto Main.java"};
            expected = "java\n";
        }
        auto job = world.start(std::move(options));
        CHECK(job.read_output() == expected);
        REQUIRE(job.finish(60'000));
        REQUIRE(job.agreed());
        CHECK(exit_status_of(*job.agreed()) == 0);
    }
}

// ---------------------------------------------------------------- the end of a job

TEST_CASE("the exit record says how the command ended, the same in the file, to the broker and to rnx") {
    World world;
    auto job = world.start(guest({"exit", "7"}));
    REQUIRE(job.finish());
    const auto record = job.agreed();
    REQUIRE(record);
    CHECK(record->kind == ExitKind::Exited);
    CHECK(record->code == 7);
    CHECK(record->started_ns > 0);
    CHECK(record->ended_ns >= record->started_ns);
    using enum spawner::StageReportType;
    CHECK(job.reports == std::vector{Namespace, Running, Ended});
    CHECK(::ioctl(job.mount_namespace.get(), NS_GET_NSTYPE) == CLONE_NEWNS);

    const auto killed = world.end_of(guest({"kill", "11"}));
    CHECK(killed.kind == ExitKind::Signaled);
    CHECK(killed.signal == 11);
}

TEST_CASE("a command that cannot be executed is told apart: 127 not found, 126 otherwise") {
    struct Failing {
        std::string command;
        int sys_errno;
        int status;
    };
    World world;
    for (const auto& [command, sys_errno, status] : {Failing{"/no/such", ENOENT, 127}, Failing{"nosuchcommand", ENOENT, 127},
                                                     Failing{"/etc/passwd", EACCES, 126}, Failing{"/usr", EACCES, 126}}) {
        INFO(command);
        auto job = world.start(run_of({command}));
        REQUIRE(job.finish());
        const auto record = job.agreed();
        REQUIRE(record);
        CHECK(record->kind == ExitKind::ExecFailed);
        CHECK(record->sys_errno == sys_errno);
        CHECK(exit_status_of(*record) == status);
        CHECK_FALSE(job.said_running);
    }
}

TEST_CASE("commands are found by the job's own PATH, and scripts run with and without an interpreter line") {
    World world;
    auto by_path = run_of({"joblet-guest", "exit", "3"});
    CHECK(world.end_of(std::move(by_path)).code == 3);

    HostDirectory host;
    auto volume = foreign_volume(host, world.slot, -1);
    const auto script = [&](const char* name, const char* text) {
        std::ofstream(host.path / "volume" / name) << text;
        REQUIRE(::chmod((host.path / "volume" / name).c_str(), 0755) == 0);
        REQUIRE(::chown((host.path / "volume" / name).c_str(), kForeignFirst, kForeignFirst) == 0);
    };
    script("with", "#!/bin/sh\nexit 4\n");
    script("without", "exit 5\n");
    auto run = run_of({"/bin/sh", "-c", "/volumes/data/with; echo $?"});
    run.spec.arguments = {"with"};
    run.spec.environment = {"PATH=/nowhere:/volumes/data"};
    run.volumes.push_back(std::move(volume));
    CHECK(world.end_of(std::move(run)).code == 4);

    auto again = run_of({"/volumes/data/without"});
    auto mount = kernel::clone_mount(AT_FDCWD, (host.path / "volume").c_str());
    REQUIRE(mount);
    REQUIRE(kernel::idmap_mount(mount->get(), world.slot.volume.get()));
    again.volumes.push_back({"data", "", std::move(*mount)});
    CHECK(world.end_of(std::move(again)).code == 5);
}

TEST_CASE("signals of rnx and of the broker reach the whole process group of the command") {
    World world;
    for (const bool as_rnx : {true, false}) {
        auto job = world.start(guest({"await-signal"}));
        job.read_line();
        as_rnx ? job.signal_as_rnx(SIGUSR1) : job.signal_as_broker(SIGUSR1);
        CHECK(job.read_line() == "{\"signal\":10}");
        CHECK(job.finish());
    }
    auto shell = world.start(run_of({"/bin/sh", "-c", "joblet-guest sleep 30; echo never"}));
    shell.read_line();
    shell.signal_as_rnx(SIGINT);
    REQUIRE(shell.finish());
    REQUIRE(shell.agreed());
    CHECK(shell.agreed()->signal == SIGINT);
}

TEST_CASE("when rnx is gone a job gets SIGHUP, and SIGKILL after the grace if it goes on") {
    World world;
    auto polite = world.start(guest({"sleep", "60"}));
    auto deaf = world.start(guest({"ignore-term"}));
    polite.read_line();
    deaf.read_line();
    deaf.hang_up();
    polite.hang_up();
    REQUIRE(polite.finish(2000));
    REQUIRE(polite.in_file);
    CHECK(polite.in_file->signal == SIGHUP);
    CHECK_FALSE(deaf.finish((kHangupGraceSeconds - 3) * 1000));
    REQUIRE(deaf.finish(6000));
    REQUIRE(deaf.in_file);
    CHECK(deaf.in_file->signal == SIGKILL);
}

TEST_CASE("a control socket that talks nonsense is a peer that is gone") {
    World world;
    auto job = world.start(guest({"sleep", "60"}));
    job.read_line();
    job.signal_as_rnx(99);
    REQUIRE(job.finish(2000));
    REQUIRE(job.agreed());
    CHECK(job.agreed()->signal == SIGHUP);
}

TEST_CASE("orphans are reaped, and end with the command") {
    World world;
    CHECK(world.report_of(guest({"orphans", "20"}))["zombies"] == 0);
    auto job = world.start(guest({"orphan"}));
    job.read_line();
    REQUIRE(job.finish(5000));
    CHECK(job.cgroup().wait_empty());
    REQUIRE(job.agreed());
    CHECK(job.agreed()->code == 0);
}

TEST_CASE("a job that is killed from outside leaves no record") {
    World world;
    auto job = world.start(guest({"sleep", "60"}));
    job.read_line();
    job.cgroup().kill();
    REQUIRE(job.finish());
    CHECK_FALSE(job.in_file);
    CHECK_FALSE(job.to_broker);
}

// ---------------------------------------------------------------- what cannot be set up

TEST_CASE("a stage that fails says at which step, on all three ways, and nothing was executed") {
    World world;
    const auto failure = [&](JobOptions options, Step step, int sys_errno) {
        auto job = world.start(std::move(options));
        job.read_output();
        REQUIRE(job.finish());
        const auto record = job.agreed();
        REQUIRE(record);
        CHECK(record->kind == ExitKind::SetupFailed);
        CHECK(step_phrase(record->step) == step_phrase(step));
        CHECK(record->sys_errno == sys_errno);
        CHECK_FALSE(job.said_running);
        CHECK(job.cgroup().wait_empty());
    };
    SUBCASE("no template") {
        const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        auto options = guest({"report"});
        options.template_fd = null.get();
        failure(std::move(options), Step::EnterTemplate, EINVAL);
    }
    SUBCASE("a volume's target that the template does not have") {
        HostDirectory host;
        auto options = guest({"report"});
        options.volumes.push_back(foreign_volume(host, world.slot, -1, "/elsewhere"));
        failure(std::move(options), Step::MoveMounts, ENOENT);
    }
    SUBCASE("no hello in the control socket") {
        auto options = guest({"report"});
        options.hello = false;
        failure(std::move(options), Step::CheckStdio, EPROTO);
    }
    SUBCASE("case_38: a directory as stdin") {
        const Fd directory(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        auto options = guest({"report"});
        options.hello_stdin = directory.get();
        failure(std::move(options), Step::CheckStdio, EPERM);
    }
    SUBCASE("case_38: a namespace as stdin") {
        const Fd ns(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
        auto options = guest({"report"});
        options.hello_stdin = ns.get();
        failure(std::move(options), Step::CheckStdio, EPERM);
    }
    SUBCASE("case_38: a file of proc as stdin") {
        const Fd file(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
        auto options = guest({"report"});
        options.hello_stdin = file.get();
        failure(std::move(options), Step::CheckStdio, EPERM);
    }
    SUBCASE("a working directory that is not there") {
        auto options = guest({"report"});
        options.spec.working_directory = "/nowhere";
        failure(std::move(options), Step::ChangeDirectory, ENOENT);
    }
    SUBCASE("case_17: a working directory by way of a descriptor") {
        auto options = guest({"report"});
        options.spec.working_directory = "/proc/self/fd/3";
        failure(std::move(options), Step::ChangeDirectory, ENOTDIR);
    }
    SUBCASE("a spec that is not sealed") {
        const Fd memory(::memfd_create("spec", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        auto options = guest({"report"});
        options.spec_fd = memory.get();
        failure(std::move(options), Step::ReadJobSpec, EINVAL);
    }
}

// ---------------------------------------------------------------- the spawner itself

TEST_CASE("the spawner has six capabilities, no new privileges, a filter, and an empty mount namespace") {
    World world;
    const pid_t pid = world.spawner.pid();
    // SETGID SETUID SETPCAP NET_ADMIN SYS_CHROOT SYS_ADMIN
    constexpr std::string_view kServing = "00000000002411c0";
    for (const char* set : {"CapPrm", "CapEff", "CapBnd"}) {
        CHECK(status_field(pid, set) == kServing);
    }
    for (const char* set : {"CapInh", "CapAmb"}) {
        CHECK(status_field(pid, set) == guest::kNoCapabilities);
    }
    CHECK(status_field(pid, "NoNewPrivs") == "1");
    CHECK(status_field(pid, "Seccomp") == "2");
    std::ifstream mounts("/proc/" + std::to_string(pid) + "/mountinfo");
    const std::string text{std::istreambuf_iterator<char>(mounts), {}};
    CHECK(std::ranges::count(text, '\n') == 1);
    CHECK(text.find(" / / ro,nosuid,nodev") != std::string::npos);
}

TEST_CASE("case_13: the spawner does not start with a descriptor that jobletd does not give") {
    SpawnerProcess spawner(1);
    const int status = spawner.wait_exit();
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 1);
}

TEST_CASE("the spawner ends when the broker's socket closes, jobs live on and leave their record") {
    auto world = std::make_unique<World>();
    auto job = world->start(guest({"await-signal"}));
    job.read_line();
    world->spawner.close_socket();
    const int status = world->spawner.wait_exit();
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);

    World other;
    auto second = other.start(guest({"await-signal"}));
    second.read_line();
    other.spawner.kill_now();
    for (auto* running : {&job, &second}) {
        running->signal_as_rnx(SIGUSR2);
        CHECK(running->read_line() == "{\"signal\":12}");
        REQUIRE(running->finish());
        CHECK(running->agreed());
    }
}

TEST_CASE("what is no order ends the spawner, and nothing is carried out") {
    const auto refused = [](std::span<const std::byte> bytes, std::span<const int> descriptors) {
        SpawnerProcess spawner;
        CHECK_FALSE(spawner.order(bytes, descriptors));
        const int status = spawner.wait_exit();
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 1);
    };
    spawner::MakeSlot order;
    order.header.type = spawner::OrderType::MakeSlot;
    order.slot_first = kTestSlot;
    const auto bytes = std::as_bytes(std::span(&order, 1));
    const std::array extra = {STDIN_FILENO};
    refused(bytes.first(bytes.size() - 1), {});
    refused(bytes, extra);
    order.slot_first = 0; // would map the host's root
    refused(bytes, {});
}

TEST_CASE("an order decodes only if every field has a meaning") {
    using namespace joblet::spawner;
    const auto decodes = [](const auto& order, std::size_t descriptors) {
        return decode_order(std::as_bytes(std::span(&order, 1)), descriptors).has_value();
    };
    MakeSlot slot;
    slot.header.type = OrderType::MakeSlot;
    slot.slot_first = kSlotFirst;
    CHECK(decodes(slot, 0));
    for (const std::uint32_t first : {0U, 1U, 65535U, kSlotFirst + 1, kForeignFirst, 0xffff0000U}) {
        slot.slot_first = first;
        CHECK_FALSE(decodes(slot, 0));
    }
    Launch good;
    good.header.type = OrderType::Launch;
    good.host_name = NameText("host");
    good.volume_count = 2;
    good.volumes[0] = {NameText("a"), TargetText("/data")};
    good.volumes[1] = {NameText("b"), TargetText("")};
    CHECK(decodes(good, kLaunchFixed + 2));
    CHECK_FALSE(decodes(good, kLaunchFixed + 1));
    const auto spoilt = [&](auto spoil) {
        Launch bad = good;
        spoil(bad);
        return decodes(bad, kLaunchFixed + bad.volume_count);
    };
    CHECK_FALSE(spoilt([](Launch& o) { o.header.zero = 1; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.header.type = static_cast<OrderType>(3); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.host_name = NameText(""); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.host_name.data.fill('a'); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.kind = static_cast<JobKind>(2); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volume_count = 17; }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volume_count = 1; })); // the second is not zero
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].name = NameText("a"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].target = TargetText("/data/below"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].target = TargetText("/proc/x"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].target = TargetText("/a/../b"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].name = NameText("../x"); }));
    CHECK_FALSE(spoilt([](Launch& o) { o.volumes[1].name.data[10] = 'x'; })); // beyond its end
}

TEST_CASE("forty jobs at once start and end") {
    World world;
    std::vector<std::unique_ptr<TestJob>> jobs;
    for (int i = 0; i < 40; ++i) {
        jobs.push_back(std::make_unique<TestJob>(world.spawner, world.slot, guest({"exit", std::to_string(i)})));
    }
    for (int i = 0; i < 40; ++i) {
        auto& job = *jobs[static_cast<std::size_t>(i)];
        REQUIRE(job.finish());
        REQUIRE(job.agreed());
        CHECK(job.agreed()->code == i);
    }
}

} // namespace joblet::testing
