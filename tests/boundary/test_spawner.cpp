// What a job looks like from inside, started by the real spawner.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <set>
#include <sstream>

#include "tests/boundary/spawner_world.h"
#include "tests/guest/expectations.h"

namespace joblet::testing {

namespace {

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

} // namespace

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

} // namespace joblet::testing
