// The options of rnx run.
#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "tests/unit/cli_words.h"

using namespace joblet;
using namespace joblet::cli;

TEST_CASE("a job has what was asked, and otherwise what the daemon gives") {
    const auto plain = taken<Run>({"run", "sh"});
    CHECK((plain.name.empty() && plain.base.empty() && plain.host_name.empty() && plain.working_directory.empty()));
    CHECK((plain.environment.empty() && plain.environment_files.empty()));
    CHECK(plain.timeout.count() == 0);
    CHECK((plain.work_bytes == 0 && plain.tmp_bytes == 0 && plain.log_bytes == 0));
    CHECK_FALSE(
        (plain.terminal || plain.detached || plain.remove_afterwards || plain.host_network || plain.read_only_work || plain.dry_run));

    const auto full = taken<Run>({"run",
                                  "--name",
                                  "train",
                                  "--base=debian",
                                  "--hostname",
                                  "box",
                                  "-w",
                                  "/data",
                                  "-u",
                                  "1000:50",
                                  "--timeout",
                                  "2h",
                                  "--network=host",
                                  "--read-only-work",
                                  "--work-size=64KB",
                                  "--tmp-size",
                                  "1MB",
                                  "-d",
                                  "--rm",
                                  "--log-max=1MB",
                                  "sh"});
    CHECK(full.name == "train");
    CHECK(full.base == "debian");
    CHECK(full.host_name == "box");
    CHECK(full.working_directory == "/data");
    CHECK((full.user == 1000 && full.group == 50));
    CHECK(full.timeout == std::chrono::hours(2));
    CHECK((full.host_network && full.read_only_work && full.detached && full.remove_afterwards));
    CHECK((full.work_bytes == 65536 && full.tmp_bytes == 1048576 && full.log_bytes == 1048576));
    CHECK(taken<Run>({"run", "--dry-run", "-d", "sh"}).dry_run);
    CHECK(taken<Run>({"run", "--network=none", "sh"}).host_network == false);
    CHECK(taken<Run>({"run", "-u", "7", "sh"}).group == 7);
    CHECK(taken<Run>({"run", "-u", "65535:0", "sh"}).group == 0);
}

TEST_CASE("-t, --terminal and --tty are one, and -i with it or alone changes nothing") {
    for (const Words& words : {Words{"run", "-t", "sh"},
                               {"run", "--terminal", "sh"},
                               {"run", "--tty", "sh"},
                               {"run", "-it", "sh"},
                               {"run", "-ti", "sh"},
                               {"run", "-i", "-t", "sh"},
                               {"run", "--interactive", "--tty", "--", "sh"}}) {
        CHECK(taken<Run>(words).terminal);
        CHECK(taken<Run>(words).command == Words{"sh"});
    }
    CHECK_FALSE(taken<Run>({"run", "-i", "sh"}).terminal);
}

TEST_CASE("letters can stand together, the last one with its value in the same word or the next") {
    const auto next = taken<Run>({"run", "-itv", "data", "sh", "-v"});
    CHECK(next.volumes.size() == 1);
    CHECK(next.command == Words{"sh", "-v"});
    const auto same = taken<Run>({"run", "-itvdata", "sh"});
    CHECK(same.volumes.size() == 1);
    CHECK(same.command == Words{"sh"});
    CHECK(taken<Run>({"run", "-de", "A=1", "sh"}).detached);
}

TEST_CASE("a variable has a value or takes the caller's") {
    const auto run = taken<Run>({"run", "-e", "A=1=2", "--env=B=", "-e", "C", "-eD=x y", "--env-file", "f", "--env-file=g", "env"});
    REQUIRE(run.environment.size() == 4);
    CHECK((run.environment[0].name == "A" && run.environment[0].value == "1=2"));
    CHECK((run.environment[1].name == "B" && run.environment[1].value == ""));
    CHECK((run.environment[2].name == "C" && !run.environment[2].value));
    CHECK((run.environment[3].name == "D" && run.environment[3].value == "x y"));
    CHECK(run.environment_files == Words{"f", "g"});
    CHECK(run.command == Words{"env"});
}

TEST_CASE("what contradicts itself or makes no sense is refused, with the status of run") {
    struct Row {
        Words words;
        std::string message;
        std::string hint;
    };
    const std::vector<Row> rows = {
        {{"run", "-d", "-t", "sh"}, "terminal", "one of -d and -t"},
        {{"run", "-dit", "sh"}, "terminal", "one of -d and -t"},
        {{"run", "-d", "-i", "sh"}, "stdin", "one of -d and -i"},
        {{"run", "--rm", "sh"}, "--rm", "-d"},
        {{"run", "--log-max=1MB", "sh"}, "--log-max", "-d"},
        {{"run", "-d", "--log-max=1KB", "sh"}, "log", "at least 64.0 KiB"},
        {{"run", "--work-size=63KB", "sh"}, "/work", "at least"},
        {{"run", "--tmp-size=2000TB", "sh"}, "/tmp", "at most"},
        {{"run", "--tmp-size=much", "sh"}, "\"much\"", "a size is"},
        {{"run", "-e", "=x", "sh"}, "no name", "KEY=VALUE"},
        {{"run", "-e", "", "sh"}, "needs a value", "usage"},
        {{"run", "-w", "data", "sh"}, "not absolute", "/"},
        {{"run", "-u", "root", "sh"}, "\"root\"", "UID:GID"},
        {{"run", "-u", "65536", "sh"}, "65536", "65535"},
        {{"run", "-u", "1:", "sh"}, "\"1:\"", "UID:GID"},
        {{"run", "-u", "-1", "sh"}, "-1", "UID:GID"},
        {{"run", "--timeout=0", "sh"}, "timeout", "leave --timeout out"},
        {{"run", "--timeout=5", "sh"}, "\"5\"", "90s"},
        {{"run", "--timeout=367d", "sh"}, "367d", "366d"},
        {{"run", "--network=bridge", "sh"}, "\"bridge\"", "none and host"},
        {{"run", "--name=a b", "sh"}, "job name", "letters"},
        {{"run", "--base=/x", "sh"}, "base name", "letters"},
        {{"run", "--hostname=-", "sh"}, "host name", "letters"},
        {{"run", "--name=a", "--name=b", "sh"}, "more than once", "usage"},
    };
    for (const auto& row : rows) {
        const auto problem = refused(row.words);
        CAPTURE(problem.error.message);
        CAPTURE(problem.error.hint);
        CHECK(mentions(problem.error.message, row.message));
        CHECK(mentions(problem.error.hint, row.hint));
        CHECK(problem.exit_status == kExitRunFailed);
    }
}
