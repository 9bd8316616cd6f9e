// What can be asked of rnx run, from inside; and the bases.
#include <doctest/doctest.h>

#include <csignal>

#include <filesystem>

#include <fmt/format.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("options");

namespace {

Installation::Options with(const std::string& broker_toml) {
    Installation::Options options;
    options.broker_toml = broker_toml;
    return options;
}

bool says(const Outcome& outcome, std::string_view word) {
    return outcome.err.find(word) != std::string::npos;
}

} // namespace

TEST_CASE("environment, working directory, host name and user are as asked") {
    const Installation here;
    write_file(here.root() + "/vars", "# comment\n\nA=from file\nB=1\n");
    auto command = here.rnx({"run", "--env-file", here.root() + "/vars", "-e", "B=2", "--env", "TAKEN", "--hostname", "box", "-w", "/tmp",
                             "--", "sh", "-c", "echo \"$A,$B,$TAKEN,$HOSTNAME\"; hostname; pwd; id -u; id -g"});
    command.environment.emplace_back("TAKEN=mine");
    const auto outcome = run(command);
    CHECK_MESSAGE(outcome.out == "from file,2,mine,box\nbox\n/tmp\n0\n0\n", outcome.err);
    CHECK(here.run_rnx({"run", "-e", "NOT_SET_ANYWHERE", "--", "true"}).status != 0);
    CHECK(here.run_rnx({"run", "-w", "relative", "--", "true"}).status != 0);
    CHECK(here.run_rnx({"run", "-w", "/nowhere", "--", "true"}).status == 125);

    const auto user =
        here.shell({"--user", "1000:50"}, "id -u; id -g; touch /work/mine /tmp/mine && stat -c %u /work/mine; echo x >/dev/stdout");
    CHECK_MESSAGE(user.out == "1000\n50\n1000\nx\n", user.err);
    CHECK(here.shell({"--user", "1000", "--read-only-work"}, "pwd").out == "/work\n");
    here.create("data");
    REQUIRE(here.shell({"-v", "data"}, "chmod 777 /volumes/data").status == 0);
    CHECK(here.shell({"--user", "1000", "-v", "data"}, "echo x >/volumes/data/f; stat -c %u /volumes/data/f").out == "1000\n");
    CHECK(here.shell({"-v", "data"}, "stat -c %u /volumes/data/f").out == "1000\n");
    for (const char* const bad : {"65536", "-1", "alice", "1:", "1:2:3"}) {
        CHECK(here.run_rnx({"run", "--user", bad, "--", "true"}).status != 0);
    }
}

TEST_CASE("a timeout ends the job, asks first, and says so") {
    const Installation here;
    const auto polite = here.shell({"--timeout", "1s"}, "trap 'echo asked; exit 3' TERM; while :; do sleep 0.05; done");
    CHECK(polite.out == "asked\n");
    CHECK(polite.status == 3);
    CHECK_MESSAGE(says(polite, "timeout"), polite.err);
    const auto plain = here.shell({"--timeout", "1s"}, "sleep 100");
    CHECK(plain.status == 143);
    CHECK(says(plain, "timeout"));
    CHECK(here.shell({"--timeout", "30s"}, "exit 4").status == 4);
    const auto detached = here.shell({"-d", "--timeout", "1s"}, "sleep 100");
    const std::string id = detached.out.substr(0, 32);
    CHECK(here.run_rnx({"job", "wait", id}).status == 0);
    CHECK(here.json_of({"job", "inspect", id})["exit"]["reason"].get<std::string>().find("timeout") != std::string::npos);
}

TEST_CASE("sizes of /work and /tmp are held, and bounded by broker.toml") {
    const Installation here(with("[jobs]\nwork_size_max = \"8MiB\"\ntmp_size_max = \"64MiB\"\n"));
    const auto sized =
        here.shell({"--work-size", "4MiB", "--tmp-size", "2MiB"},
                   "dd if=/dev/zero of=/work/f bs=64k count=1000 2>/dev/null; stat -c %s /work/f; dd if=/dev/zero of=/tmp/f bs=64k "
                   "count=1000 2>/dev/null; stat -c %s /tmp/f");
    CHECK_MESSAGE(sized.out == "4194304\n2097152\n", sized.err);
    const auto beyond = here.shell({"--work-size", "9MiB"}, "true");
    CHECK(beyond.status == 125);
    CHECK_MESSAGE((says(beyond, "8.0 MiB") && says(beyond, "9.0 MiB")), beyond.err);
    const auto read_only = here.shell({"--read-only-work"}, "touch /work/x");
    CHECK(read_only.status != 0);
    CHECK(says(read_only, "Read-only"));
}

TEST_CASE("the network is loopback alone, and the host's only where root allows it") {
    {
        const Installation here;
        const auto refused = here.shell({"--network", "host"}, "true");
        CHECK(refused.status == 125);
        CHECK_MESSAGE(says(refused, "host_network"), refused.err);
        CHECK(here.shell({"--network", "none"}, "ping -c 1 -W 1 127.0.0.1 >/dev/null 2>&1; ifconfig lo | grep -c RUNNING").out == "1\n");
    }
    const Installation here(with("[jobs]\nhost_network = true\n"));
    const auto host = run({{"/bin/sh", "-c", "tail -n +3 /proc/net/dev | wc -l"}}).out;
    CHECK(here.shell({"--network", "host"}, "ip -o link | wc -l").out == host);
    CHECK(here.shell({}, "ip -o link | wc -l").out == "1\n");
}

TEST_CASE("a dry run tells the job's world and starts nothing") {
    const Installation here;
    here.create("data");
    const auto dry = here.run_rnx({"run", "--dry-run", "-v", "data:/data:ro", "--user", "5", "--", "echo", "hello"});
    CHECK(dry.status == 0);
    for (const char* const word : {"/data", "/volumes/data", "/work", "1.0 MiB", "echo"}) {
        CAPTURE(word);
        CHECK_MESSAGE(dry.out.find(word) != std::string::npos, dry.out);
    }
    CHECK(dry.out.find("hello\n") != 0);
    CHECK(here.json_of({"job", "list"}).empty());
    CHECK(here.json_of({"volume", "inspect", "data"})["last_used"].is_null());
    CHECK(here.run_rnx({"run", "--dry-run", "-v", "missing", "--", "true"}).status == 125);
}

TEST_CASE("bases: minimal, the host's own programs, and prepared directories; what is unsafe is refused and named") {
    const std::string unsafe = "/var/lib/joblet-test-base-" + std::to_string(::getpid());
    struct Remove {
        std::string path;
        ~Remove() {
            std::filesystem::remove_all(path);
        }
    } const remove{unsafe};
    for (const char* const directory : {"/open/bin", "/open/usr", "/open/etc", "/good/bin", "/good/etc", "/linked/usr2"}) {
        std::filesystem::create_directories(unsafe + directory);
    }
    std::filesystem::permissions(unsafe + "/open/etc", std::filesystem::perms(0777));
    std::filesystem::create_directory_symlink("usr2", unsafe + "/linked/usr");
    std::filesystem::copy_file("/bin/busybox", unsafe + "/good/bin/busybox");
    std::filesystem::create_symlink("busybox", unsafe + "/good/bin/sh");
    write_file(unsafe + "/good/etc/motd", "prepared\n");
    const Installation here(with(fmt::format(
        "[bases]\nopen = \"{0}/open\"\nlinked = \"{0}/linked\"\ngood = {{ path = \"{0}/good\", proc = \"masked\" }}\n", unsafe)));
    const json bases = here.json_of({"base", "list"});
    REQUIRE(bases.size() == 5);
    for (const auto& base : bases) {
        CAPTURE(base.dump());
        CHECK(base["usable"] == (base["name"] != "open" && base["name"] != "linked"));
    }
    CHECK(here.log().find("open/etc") != std::string::npos);
    CHECK(here.log().find("linked/usr") != std::string::npos);
    CHECK(here.run_rnx({"run", "--base", "open", "--", "true"}).status == 125);
    const auto unknown = here.run_rnx({"run", "--base", "nothing", "--", "true"});
    CHECK(unknown.status == 125);
    CHECK_MESSAGE(says(unknown, "minimal"), unknown.err);
    CHECK(here.run_rnx({"run", "--base", "good", "--", "sh", "-c", "while read line; do echo $line; done </etc/motd"}).out == "prepared\n");
    CHECK(here.run_rnx({"run", "--base", "good", "--", "sh", "-c", "test -r /proc/meminfo && test ! -s /proc/kcore && echo masked"}).out ==
          "masked\n");
    const auto host = here.run_rnx(
        {"run", "--base", "host", "--", "/usr/bin/env", "bash", "-c",
         "id -un; getent passwd root | cut -d: -f1; test -r /proc/meminfo && echo meminfo; head -c1 /proc/kcore | wc -c; touch /usr/x"});
    CHECK_MESSAGE(host.out == "root\nroot\nmeminfo\n0\n", host.out, host.err);
    CHECK_FALSE(std::filesystem::exists("/usr/x"));
    CHECK(here.run_rnx({"run", "--base", "minimal", "--", "sh", "-c", "test -e /proc/meminfo || echo none"}).out == "none\n");
}

TEST_SUITE_END();

} // namespace joblet::testing
