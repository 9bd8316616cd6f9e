// Timeout, user, network and proc of a job.
#include <doctest/doctest.h>

#include <net/if.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "broker-root/spawner/proc_masks.h"
#include "tests/boundary/spawner_world.h"
#include "tests/guest/expectations.h"

namespace joblet::testing {

namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;

JobOptions shell(std::string script) {
    return run_of({"/bin/sh", "-c", std::move(script)});
}

std::string output_of(World& world, JobOptions options) {
    auto job = world.start(std::move(options));
    auto text = job.read_output();
    REQUIRE(job.finish());
    REQUIRE(job.agreed());
    CHECK(exit_status_of(*job.agreed()) == 0);
    return text;
}

} // namespace

// ---------------------------------------------------------------- timeout

TEST_CASE("a job whose time is over is terminated, with what it started, stopped or not, and the record says so") {
    World world;
    for (const char* script : {"joblet-guest sleep 60; echo never", "kill -STOP $$; echo never"}) {
        auto options = shell(script);
        options.timeout_ns = 300 * kMillisecond;
        auto job = world.start(std::move(options));
        CHECK(job.read_output().find("never") == std::string::npos);
        REQUIRE(job.finish(5000));
        const auto record = job.agreed();
        REQUIRE(record);
        CHECK(record->signal == SIGTERM);
        CHECK(record->flags == kExitTimedOut);
        CHECK(record->ended_ns - record->started_ns >= 290 * static_cast<std::int64_t>(kMillisecond));
        CHECK(record->ended_ns - record->started_ns < 3000 * static_cast<std::int64_t>(kMillisecond));
    }
}

TEST_CASE("a job that ignores SIGTERM is killed after the grace; one that ends by itself keeps its code") {
    World world;
    auto ignoring = guest({"ignore-term"});
    ignoring.timeout_ns = 200 * kMillisecond;
    auto deaf = world.start(std::move(ignoring));
    auto trapping = shell("trap 'exit 9' TERM; sleep 60 & wait");
    trapping.timeout_ns = 200 * kMillisecond;
    auto polite = world.start(std::move(trapping));
    REQUIRE(polite.finish(5000));
    REQUIRE(polite.agreed());
    CHECK(polite.agreed()->code == 9);
    CHECK(polite.agreed()->flags == kExitTimedOut);
    CHECK_FALSE(deaf.finish((kHangupGraceSeconds - 3) * 1000));
    REQUIRE(deaf.finish(6000));
    REQUIRE(deaf.agreed());
    CHECK(deaf.agreed()->signal == SIGKILL);
    CHECK(deaf.agreed()->flags == kExitTimedOut);
}

TEST_CASE("a job that ends in time has no mark, however long its time was") {
    World world;
    for (const std::uint64_t timeout : {10'000 * kMillisecond, protocol::kTimeoutMax}) {
        auto options = guest({"exit", "0"});
        options.timeout_ns = timeout;
        CHECK(world.end_of(std::move(options)).flags == 0);
    }
    auto detached = shell("sleep 60");
    detached.flags = spawner::kLaunchDetached;
    detached.timeout_ns = 200 * kMillisecond;
    CHECK(world.end_of(std::move(detached)).flags == kExitTimedOut);
}

// ---------------------------------------------------------------- user

TEST_CASE("a job has the user and group it was given, no other group, no capability, and may use /work and /tmp") {
    World world;
    for (const std::uint32_t user : {1000U, 65534U, 65535U}) {
        auto options = guest({"report"});
        options.user = user;
        options.group = user - 1;
        const json report = world.report_of(std::move(options));
        CHECK(report["uid"] == json({user, user, user}));
        CHECK(report["gid"] == json({user - 1, user - 1, user - 1}));
        CHECK(report["groups"] == json::array());
        for (const auto set : guest::kCapabilitySets) {
            CHECK(report["capabilities"][std::string(set)] == guest::kNoCapabilities);
        }
        CHECK(report["no_new_privs"] == 1);
        CHECK(report["seccomp"] == guest::kSeccompFilter);
        for (const char* path : {"/work", "/tmp", "/dev/shm"}) {
            INFO(path);
            CHECK(report["directories"][path]["writable"] == true);
        }
        auto other = shell("pwd; echo x > made; echo y > /tmp/made; stat -c %u:%g . made /tmp/made");
        other.user = user;
        other.group = user - 1;
        CHECK(output_of(world, std::move(other)) == fmt::format("/work\n{0}:{1}\n{0}:{1}\n{0}:{1}\n", user, user - 1));
    }
    auto group_alone = shell("id -u; id -g; echo x > made; stat -c %u:%g made");
    group_alone.group = 7;
    CHECK(output_of(world, std::move(group_alone)) == "0\n7\n0:7\n");
}

TEST_CASE("a read-only /work starts with a user, too") {
    World world;
    auto options = shell("pwd; echo x 2>/dev/null > made || echo refused");
    options.user = 1000;
    options.read_only_work = true;
    CHECK(output_of(world, std::move(options)) == "/work\nrefused\n");
}

TEST_CASE("what a user's job tries and may not do is refused, signals reach it, and pid 1 is none of its own") {
    World world;
    for (const std::uint32_t user : {1000U, 65534U}) {
        auto options = guest({"attempts", "/work"});
        options.user = user;
        options.group = user;
        const json answers = world.report_of(std::move(options));
        for (const auto& expected : guest::kAnswers) {
            const std::string attempt(expected.attempt);
            if (!attempt.ends_with("_init") && !attempt.starts_with("proc_1")) {
                continue;
            }
            INFO(attempt);
            const std::string answer = answers.value(attempt, "not tried");
            CHECK((answer == expected.answer || (!expected.other.empty() && answer == expected.other)));
        }
        auto waiting = guest({"await-signal"});
        waiting.user = user;
        auto job = world.start(std::move(waiting));
        job.read_line();
        job.signal_as_rnx(SIGUSR1);
        CHECK(job.read_line() == "{\"signal\":10}");
        CHECK(job.finish());
    }
}

// ---------------------------------------------------------------- stdio of the caller's

TEST_CASE("a pipe given as stdout can be opened again if its owner let everybody write to it") {
    World world;
    const auto reopening = [&](int mode, std::uint32_t user) {
        auto options = shell("echo again > /dev/stdout || echo refused");
        options.output_mode = mode;
        options.user = user;
        auto job = world.start(std::move(options));
        auto text = job.read_output();
        CHECK(job.finish());
        return text;
    };
    CHECK(reopening(0666, 0) == "again\n");
    CHECK(reopening(0666, 1000) == "again\n");
    CHECK(reopening(-1, 0).ends_with("refused\n"));
}

// ---------------------------------------------------------------- network

TEST_CASE("with the host's network a job sees the host's interfaces and abstract sockets; without, only lo") {
    World world;
    std::set<std::string> of_host;
    struct if_nameindex* const names = ::if_nameindex();
    for (const auto* name = names; name->if_index != 0; ++name) {
        of_host.insert(name->if_name);
    }
    ::if_freenameindex(names);
    const auto interfaces = [&](std::uint32_t flags) {
        auto options = shell("tail -n +3 /proc/self/net/dev | cut -d: -f1");
        options.flags = flags;
        std::istringstream lines(output_of(world, std::move(options)));
        std::set<std::string> out;
        for (std::string name; lines >> name;) {
            out.insert(name);
        }
        return out;
    };
    CHECK(interfaces(spawner::kLaunchHostNetwork) == of_host);
    CHECK(interfaces(0) == std::set<std::string>{"lo"});

    if (fs::exists("/usr/bin/python3")) {
        const std::string name = "joblet-test-" + std::to_string(::getpid());
        const Fd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
        std::ranges::copy(name, &address.sun_path[1]);
        const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
        REQUIRE(::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0);
        REQUIRE(::listen(listening.get(), 1) == 0);
        for (const std::uint32_t flags : {std::uint32_t{0}, spawner::kLaunchHostNetwork}) {
            auto connecting =
                run_of({"python3", "-c", "import socket; print(socket.socket(socket.AF_UNIX).connect_ex('\\0" + name + "'))"});
            connecting.flags = flags;
            CHECK(output_of(world, std::move(connecting)) == (flags == 0 ? "111\n" : "0\n")); // ECONNREFUSED: nobody of that name
        }
    } else {
        MESSAGE("abstract sockets skipped: this machine has no /usr/bin/python3");
    }

    auto options = guest({"report"});
    options.flags = spawner::kLaunchHostNetwork;
    auto job = world.start(std::move(options));
    const json report = json::parse(job.read_output());
    REQUIRE(job.finish());
    for (const auto set : guest::kCapabilitySets) {
        CHECK(report["capabilities"][std::string(set)] == guest::kNoCapabilities);
    }
}

// ---------------------------------------------------------------- proc

TEST_CASE("a masked proc shows what programs need and nothing that is dangerous, and a job cannot undo it") {
    World world;
    const auto with_masks = [](std::string script) {
        auto options = shell(std::move(script));
        options.flags = spawner::kLaunchMaskedProc;
        return options;
    };
    for (const char* file :
         {"meminfo", "stat", "cpuinfo", "loadavg", "uptime", "version", "mounts", "self/status", "vmstat", "filesystems"}) {
        INFO(file);
        CHECK(!output_of(world, with_masks(std::string("head -c 20 /proc/") + file)).empty());
    }
    std::string script;
    for (const auto& mask : spawner::proc_masks()) {
        CHECK(!mask.reason.empty());
        if (!fs::exists(mask.path)) {
            continue;
        }
        script += mask.kind == spawner::MaskKind::File
                      ? fmt::format("test \"$(stat -c %t:%T {0})\" = 1:3 && test -z \"$(cat {0})\" || echo {0}\n", mask.path)
                      : fmt::format("test -z \"$(ls -A {0})\" && ! mkdir {0}/x 2>/dev/null || echo {0}\n", mask.path);
        script += fmt::format("umount {0} 2>/dev/null && echo umounted {0}\n", mask.path);
    }
    script += "umount -l /proc 2>/dev/null && echo umounted\n"
              "unshare -m true 2>/dev/null && echo unshared\n"
              "unshare -Um true 2>/dev/null && echo unshared\n"
              "echo 1 2>/dev/null > /proc/self/oom_score_adj && echo written\n";
    CHECK(output_of(world, with_masks(script + "true")).empty());
    // Only its own processes, as ever: pid 1 is hidden
    CHECK(output_of(world, with_masks("ls -d /proc/1 2>/dev/null; ls /proc | grep -c '^[0-9]'")).size() == 2);
    // Flags of all of it
    std::istringstream mounts(output_of(world, with_masks("cat /proc/self/mountinfo")));
    int masks = 0;
    for (std::string line; std::getline(mounts, line);) {
        if (line.find(" /proc") != std::string::npos) {
            ++masks;
            INFO(line);
            const bool null = line.find(" /null /proc") != std::string::npos;
            CHECK(line.find(null ? " ro,nosuid,noexec" : " ro,nosuid,nodev,noexec") != std::string::npos);
        }
    }
    CHECK(masks > 10);
    // And without the flag there is nothing to mask
    CHECK(output_of(world, shell("ls /proc | grep -v '^[0-9]' | tr '\\n' ' '")) == "self thread-self ");
}

TEST_CASE("free and a JVM find the machine's memory in a masked proc") {
    World world;
    auto options = shell("free -k | awk '/Mem/ { print ($2 > 0) }'");
    options.flags = spawner::kLaunchMaskedProc;
    CHECK(output_of(world, std::move(options)) == "1\n");
}

} // namespace joblet::testing
