// rnx run: the command's own stdin, stdout and stderr, its exit code, signals.
#include <doctest/doctest.h>

#include <fcntl.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("jobs");

TEST_CASE("the exit code is the job's own, and what cannot be run says why") {
    const Installation here;
    for (const int code : {0, 1, 7, 125, 255}) {
        CHECK(here.shell({}, "exit " + std::to_string(code)).status == code);
    }
    CHECK(here.shell({}, "kill -9 $$").status == 137);
    CHECK(here.shell({}, "kill -TERM $$").status == 143);
    const auto missing = here.run_rnx({"run", "--", "no-such-program"});
    CHECK(missing.status == 127);
    CHECK(missing.err.find("no-such-program: not found") != std::string::npos);
    CHECK(here.run_rnx({"run", "--", "/etc/passwd"}).status == 126);
    CHECK(here.run_rnx({"run", "--", "/work"}).status == 126);
}

TEST_CASE("stdin, stdout and stderr are the caller's own, byte by byte") {
    const Installation here;
    std::string bytes;
    for (int i = 0; i < 3'000'000; ++i) {
        bytes.push_back(static_cast<char>(i * 31 + i / 251));
    }
    auto command = here.rnx({"run", "--", "cat"});
    command.input = bytes;
    const auto copied = run(command);
    CHECK(copied.status == 0);
    CHECK(copied.out == bytes);
    const auto both = here.shell({}, "echo out; echo err >&2");
    CHECK(both.out == "out\n");
    CHECK(both.err == "err\n");
}

TEST_CASE("a large binary stdin arrives unchanged, from a file and from a pipe") {
    const Installation here;
    const std::string file = here.root() + "/bytes";
    const char* const size = std::getenv("JOBLET_TEST_LONG") != nullptr ? "1G" : "64M";
    REQUIRE(run({{"/bin/sh", "-c", std::string("head -c ") + size + " /dev/urandom >" + file}}, seconds(120)).status == 0);
    const std::string sum = run({{"/bin/sh", "-c", "md5sum <" + file}}, seconds(120)).out;
    const std::string rnx = here.root() + "/rnx --socket " + here.socket() + " run -- md5sum";
    CHECK(run({{"/bin/sh", "-c", rnx + " <" + file}}, seconds(120)).out == sum);
    CHECK(run({{"/bin/sh", "-c", "cat " + file + " | " + rnx}}, seconds(120)).out == sum);
}

TEST_CASE("the first word that is no option ends rnx's options, with or without --") {
    const Installation here;
    CHECK(here.run_rnx({"run", "echo", "-v", "--format", "--"}).out == "-v --format --\n");
    CHECK(here.run_rnx({"run", "--", "echo", "--", "-h"}).out == "-- -h\n");
    CHECK(here.run_rnx({"run", "echo", "a b", "", "c"}).out == "a b  c\n");
}

TEST_CASE("Ctrl-C and SIGTERM are passed on to the job, which may do with them what it likes") {
    const Installation here;
    for (const auto& [signal, name] : {std::pair{SIGINT, "INT"}, std::pair{SIGTERM, "TERM"}, std::pair{SIGUSR1, "USR1"}}) {
        CAPTURE(name);
        Process job(
            here.shell_command({}, std::string("trap 'echo caught; exit 9' ") + name + "; echo ready; while :; do sleep 0.1; done"));
        REQUIRE(job.wait_for_output("ready"));
        job.signal(signal);
        const auto ended = job.wait();
        CHECK(ended.status == 9);
        CHECK(ended.out == "ready\ncaught\n");
    }
    Process plain(here.shell_command({}, "echo ready; sleep 30"));
    REQUIRE(plain.wait_for_output("ready"));
    plain.signal(SIGINT);
    CHECK(plain.wait().status == 130);
}

TEST_CASE("a job whose rnx is gone is hung up") {
    const Installation here;
    {
        Process job(here.shell_command({}, "echo ready; sleep 300"));
        REQUIRE(job.wait_for_output("ready"));
        CHECK(here.job_groups().size() == 1);
        job.signal(SIGKILL);
        CHECK(job.wait().status == 137);
    }
    CHECK(becomes_true([&here] { return here.job_groups().empty(); }));
}

TEST_CASE("when the command ends, everything that it left running ends") {
    const Installation here;
    here.create("data");
    CHECK(here.shell({"-v", "data:/data"}, "(sleep 300 >/dev/null 2>&1 &) ; exit 3").status == 3);
    CHECK(becomes_true([&here] { return here.job_groups().empty() && here.loops().empty(); }));
}

TEST_CASE("a job sees its base, its volumes and nothing of the host") {
    const Installation here;
    here.create("data");
    const auto seen =
        here.shell({"-v", "data:/deep/down/data"},
                   "ls -1 / | tr '\\n' ' '; ls /volumes /deep/down; pwd; id -u; hostname | wc -c; ls /var /home /root 2>/dev/null | wc -l");
    CHECK(seen.out == "bin deep dev etc lib lib64 proc sbin tmp usr volumes work /deep/down:\ndata\n\n/volumes:\ndata\n/work\n0\n13\n0\n");
}

TEST_CASE("no mount of a job is ever seen in the host's mount namespace") {
    const Installation here;
    here.create("data");
    here.create("mem", "1MiB", "memory");
    const auto before = mounts_of(::getpid());
    Process job(here.shell_command({"-v", "data:/data", "-v", "mem"}, "echo ready; sleep 30"));
    REQUIRE(job.wait_for_output("ready"));
    CHECK(mounts_of(::getpid()) == before);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(mounts_of(::getpid()) == before);
}

TEST_CASE("a directory, a block device or a file of proc or a namespace as stdin is refused") {
    const Installation here;
    for (const char* path : {"/", "/proc/self/status", "/proc/self/ns/mnt", "/dev/zero", "/dev/loop0"}) {
        CAPTURE(path);
        Process job(
            {{"/bin/sh", "-c", "exec \"$0\" \"$@\" <" + std::string(path), binary("rnx"), "--socket", here.socket(), "run", "--", "true"}});
        const auto refused = job.wait();
        CHECK(refused.status == 125);
        const bool says_which = refused.err.find("stdin") != std::string::npos || refused.err.find("standard input") != std::string::npos;
        CHECK_MESSAGE(says_which, refused.err);
    }
    // and closed ones are as good as none
    Process closed({{"/bin/sh", "-c", "exec \"$0\" \"$@\" <&-", binary("rnx"), "--socket", here.socket(), "run", "--", "cat"}});
    CHECK(closed.wait().status == 0);
}

TEST_SUITE_END();

} // namespace joblet::testing
