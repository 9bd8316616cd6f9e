// A bit of everything, for tests/system/trace to look on: which process makes which system calls. What comes of it is tested elsewhere.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("traced");

TEST_CASE("volumes and jobs, from their making to their end, and daemons that are killed meanwhile") {
    Installation::Options options;
    options.broker_toml = "[volumes]\ntrash_retention = \"1h\"\n";
    Installation here(options);
    here.create("disk", "3MiB");
    here.create("memory", "1MiB", "memory");
    CHECK(here.run_rnx({"volume", "create", "owned", "--size=1MiB", "--label", "a=b"}, kAlice).status == 0);
    CHECK(here.run_rnx({"volume", "label", "disk", "c=d"}).status == 0);
    CHECK(here.run_rnx({"volume", "protect", "disk"}).status == 0);
    CHECK(here.run_rnx({"volume", "unprotect", "disk"}).status == 0);
    CHECK(here.run_rnx({"volume", "rename", "disk", "data"}).status == 0);
    CHECK(here.shell({"-v", "data:/data", "-v", "memory"}, "echo kept >/data/note; echo gone >/volumes/memory/note; ls /proc >/data/list")
              .status == 0);
    CHECK(here.shell({"-v", "data:/data:ro"}, "cat /data/note").out == "kept\n");
    CHECK(here.shell({"--base", "host", "--user", "7"}, "ls / >/work/list; cat /work/list >/dev/null").status == 0);
    CHECK(here.shell({"--timeout", "1s"}, "sleep 600").status != 0);
    CHECK(here.run_rnx({"run", "--", "there-is-no-such-command"}).status == 127);
    CHECK(here.run_rnx({"volume", "usage"}).status == 0);
    CHECK(here.run_rnx({"volume", "resize", "data", "--size=4MiB"}).status == 0);

    const auto started = here.run_rnx({"run", "-d", "--", "sh", "-c", "echo said; sleep 600"});
    REQUIRE(started.status == 0);
    const auto job = started.out.substr(0, started.out.find('\n'));
    CHECK(here.run_rnx({"volume", "attach", "data", job}).status == 0);
    CHECK(here.run_rnx({"volume", "usage", "data"}).status == 0);
    CHECK(here.run_rnx({"volume", "detach", "data", job}).status == 0);
    CHECK(becomes_true([&] { return here.run_rnx({"job", "logs", job}).out == "said\n"; }));
    for (const char* daemon : {"joblet-api", "joblet-broker", "joblet-worker", "joblet-spawner"}) {
        here.kill_daemons(daemon);
    }
    CHECK(here.run_rnx({"job", "stop", job, "--grace=1s"}).status == 0);
    CHECK(here.run_rnx({"job", "wait", job}).status == 0);
    CHECK(here.run_rnx({"job", "remove", job}).status == 0);

    CHECK(here.run_rnx({"volume", "remove", "data"}).status == 0);
    CHECK(here.run_rnx({"volume", "restore", "data"}).status == 0);
    CHECK(here.run_rnx({"volume", "remove", "data", "memory", "--now", "--wait"}).status == 0);
    (void)here.run_rnx({"doctor"}, 0, seconds(120)); // its status says what this machine lacks
    CHECK(here.stop() == 0);
    here.start();
    CHECK(here.run_rnx({"volume", "list"}, kAlice).status == 0);
}

TEST_SUITE_END();

} // namespace joblet::testing
