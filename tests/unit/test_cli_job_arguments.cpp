// The words of rnx job, rnx base and rnx completion; and that the help of every command has an example.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>

#include "cli/arguments.h"
#include "cli/command_tree.h"
#include "tests/unit/cli_words.h"

using namespace joblet;
using namespace joblet::cli;

namespace {

void check_help(const CommandText& command) {
    CAPTURE(command.path);
    CHECK_FALSE(command.what.empty());
    CHECK(command.usage.starts_with(command.path));
    CHECK(mentions(command.end, "Example"));
    CHECK((mentions(command.end, "  rnx ") || mentions(command.end, "  sudo rnx ")));
    for (const auto& option : command.options) {
        CAPTURE(option.names.front());
        CHECK_FALSE(option.what.empty());
    }
    for (const auto& below : command.commands) {
        check_help(below);
    }
}

} // namespace

TEST_CASE("jobs are listed by state, and whose they are") {
    CHECK(taken<JobList>({"job", "list"}).state == JobStateFilter::Any);
    const auto list = taken<JobList>({"job", "ls", "--state=running", "-q", "--user=1000"});
    CHECK(list.state == JobStateFilter::Running);
    CHECK(list.quiet);
    CHECK((list.scope.kind == Scope::Kind::User && list.scope.uid == 1000));
    CHECK(taken<JobPrune>({"job", "prune", "--all-users"}).scope.kind == Scope::Kind::Everybody);
}

TEST_CASE("several jobs are named, by name or id") {
    CHECK(taken<JobInspect>({"job", "inspect", "a", "06365ce2f601"}).names == Words{"a", "06365ce2f601"});
    CHECK(taken<JobWait>({"job", "wait", "a", "b"}).names.size() == 2);
    CHECK(taken<JobRemove>({"job", "rm", "--force", "a"}).force);
    CHECK_FALSE(taken<JobRemove>({"job", "remove", "a"}).force);
}

TEST_CASE("a grace is a time, and none given is the daemon's") {
    CHECK_FALSE(taken<JobStop>({"job", "stop", "a"}).grace);
    CHECK(taken<JobStop>({"job", "stop", "--grace", "1m", "a"}).grace == std::chrono::minutes(1));
    CHECK(taken<JobStop>({"job", "stop", "--grace=0", "a"}).grace == std::chrono::seconds(0));
}

TEST_CASE("a signal has a name or a number") {
    CHECK(taken<JobKill>({"job", "kill", "a"}).signal == SIGKILL);
    for (const auto* word : {"TERM", "SIGTERM", "term", "sigterm", "15"}) {
        CHECK(taken<JobKill>({"job", "kill", "-s", word, "a"}).signal == SIGTERM);
    }
    CHECK(taken<JobKill>({"job", "kill", "--signal=USR1", "a"}).signal == SIGUSR1);
}

TEST_CASE("a log is shown whole, or what was asked of it") {
    const auto all = taken<JobLogs>({"job", "logs", "train"});
    CHECK((all.name == "train" && all.with_stdout && all.with_stderr && !all.follow && !all.timestamps && !all.tail));
    const auto some = taken<JobLogs>({"job", "logs", "-f", "--tail=20", "--timestamps", "--stderr", "train"});
    CHECK((some.follow && some.timestamps && some.with_stderr && !some.with_stdout && some.tail == 20));
    CHECK(taken<JobLogs>({"job", "logs", "--tail", "0", "x"}).tail == 0);
    CHECK(taken<JobLogs>({"job", "logs", "--stdout", "--stderr", "x"}).with_stdout);
}

TEST_CASE("what makes no sense to job, base and completion is refused") {
    check_refused({
        {{"job"}, "subcommand", "usage: rnx job"},
        {{"job", "stop"}, "JOB", "usage: rnx job stop"},
        {{"job", "stop", "a b"}, "job name", "letters"},
        {{"job", "stop", "--grace=2h", "a"}, "2h", "at most 1h"},
        {{"job", "kill", "-s", "NONE", "a"}, "NONE", "TERM"},
        {{"job", "kill", "-s", "0", "a"}, "\"0\"", "1 to 31"},
        {{"job", "kill", "-s", "32", "a"}, "\"32\"", "1 to 31"},
        {{"job", "list", "--state=dead"}, "dead", "starting, running and ended"},
        {{"job", "list", "--user=me"}, "\"me\"", "uid"},
        {{"job", "list", "--user=1", "--all-users"}, "--all-users", "usage"},
        {{"job", "logs", "--tail=-1", "a"}, "-1", "whole number"},
        {{"job", "logs", "a", "b"}, "b", "usage: rnx job logs"},
        {{"base"}, "subcommand", "usage: rnx base"},
        {{"completion"}, "SHELL", "usage: rnx completion"},
        {{"completion", "csh"}, "csh", "bash, zsh and fish"},
        {{"completion", ""}, "shell", "bash, zsh and fish"},
        {{"volume", "remove", "data", "--wait"}, "--now", "usage: rnx volume remove"},
    });
    CHECK(taken<VolumeRemove>({"volume", "remove", "data", "--now", "--wait"}).wait);
    CHECK_FALSE(taken<VolumeRemove>({"volume", "remove", "data", "--now"}).wait);
}

TEST_CASE("bases are listed, and a script is made for a shell") {
    taken<BaseListing>({"base", "list"});
    CHECK(taken<Completion>({"completion", "fish"}).shell == Completion::Shell::Fish);
}

TEST_CASE("what a completion script asks is not parsed") {
    CHECK(taken<Complete>({"__complete", "volume", "--bogus", ""}).words == Words{"volume", "--bogus", ""});
    CHECK(parse({"__complete"}, "/env")->socket == "/env");
}

TEST_CASE("every command says what it does, and shows examples") {
    check_help(command_tree());
}
