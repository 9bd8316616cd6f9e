// What a word can become when Tab is pressed.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cli/completion.h"
#include "tests/unit/cli_words.h"

using namespace joblet;
using namespace joblet::cli;

using From = Candidates::From;

namespace {

Candidates complete(const Words& words) {
    return candidates_for(command_tree(), words);
}

// Those that would be shown
Words shown(const Words& words) {
    const auto candidates = complete(words);
    Words found;
    for (const auto& [word, what] : candidates.words) {
        if (word.starts_with(candidates.begin)) {
            found.push_back(candidates.prefix + word);
        }
    }
    return found;
}

} // namespace

TEST_CASE("commands come first") {
    CHECK(shown({"vol"}) == Words{"volume"});
    CHECK(shown({""}) == Words{"run", "job", "volume", "base", "doctor", "audit", "completion", "version"});
    CHECK(shown({"volume", "re"}) == Words{"remove", "rename", "resize", "restore"});
    CHECK(shown({"--format", "json", "job", "st"}) == Words{"stop"});
    CHECK(shown({"completion", ""}) == Words{"bash", "zsh", "fish"});
}

TEST_CASE("options follow a dash, and their values what they are") {
    CHECK(shown({"volume", "list", "--st"}) == Words{"--status"});
    CHECK(shown({"volume", "create", "x", "--type", ""}) == Words{"filesystem", "memory"});
    CHECK(shown({"volume", "create", "x", "--type=m"}) == Words{"--type=memory"});
    CHECK(shown({"run", "--network=h"}) == Words{"--network=host"});
    CHECK(shown({"job", "kill", "-s", "U"}) == Words{"USR1", "USR2"});
    CHECK(shown({"volume", "resize", "x", "--soft"}) == Words{"--soft-size", "--soft-inodes"});
    CHECK(shown({"run", "--write"}) == Words{"--write-bps", "--write-iops"});
    CHECK(shown({"doctor", "--format=j"}) == Words{"--format=json"});
    const auto all = shown({"run", "--"});
    CHECK(std::ranges::find(all, "--env-file") != all.end());
    CHECK(complete({"run", "--env-file", ""}).from == From::Files);
}

TEST_CASE("names are those of volumes, jobs and bases, where one of them stands") {
    CHECK(complete({"volume", "rm", ""}).from == From::Volumes);
    CHECK(complete({"volume", "inspect", "a", "b"}).from == From::Volumes);
    CHECK(complete({"volume", "restore", ""}).from == From::Trash);
    CHECK(complete({"volume", "create", ""}).from == From::Words);
    CHECK(complete({"volume", "rename", "a", ""}).from == From::Words);
    CHECK(complete({"volume", "resize", ""}).from == From::Volumes);
    CHECK(complete({"volume", "usage", "a", ""}).from == From::Volumes);
    CHECK(complete({"volume", "attach", ""}).from == From::Volumes);
    CHECK(complete({"volume", "attach", "a", ""}).from == From::Jobs);
    CHECK(complete({"volume", "attach", "a", "b", ""}).from == From::Words);
    CHECK(complete({"job", "logs", "-f", "tr"}).begin == "tr");
    CHECK(complete({"job", "logs", "-f", "tr"}).from == From::Jobs);
    CHECK(complete({"run", "-itv", "d"}).from == From::Volumes);
    CHECK(complete({"run", "--base="}).from == From::Bases);
    CHECK(complete({"run", "--base=d"}).prefix == "--base=");
}

TEST_CASE("a job's own words are not ours") {
    CHECK(complete({"run", "sh", "--"}).words.empty());
    CHECK(complete({"run", "sh", ""}).from == From::Words);
    CHECK(complete({"run", "--", "--"}).words.empty());
}

TEST_CASE("the daemon that is asked is the one that was named") {
    CHECK(complete({"--socket", "/s", "volume", "rm", ""}).socket == "/s");
    CHECK(complete({"volume", "rm", "--socket=/s", ""}).socket == "/s");
    CHECK(complete({"volume", "rm", ""}).socket.empty());
}

TEST_CASE("each value that is offered is one that is taken") {
    struct Row {
        std::string option;
        Words words;
    };
    const std::vector<Row> rows = {
        {"--format", {"version"}},    {"--type", {"volume", "list"}}, {"--status", {"volume", "list"}},   {"--sort", {"volume", "list"}},
        {"--state", {"job", "list"}}, {"--network", {"run"}},         {"--signal", {"job", "kill", "x"}},
    };
    for (const auto& row : rows) {
        CHECK_FALSE(values_of(row.option).empty());
        for (const auto value : values_of(row.option)) {
            auto words = row.words;
            words.push_back(row.option + "=" + std::string(value));
            if (row.words.front() == "run") {
                words.emplace_back("sh");
            }
            CAPTURE(words.back());
            CHECK(parse(words));
        }
    }
    for (const auto shell : values_of("SHELL")) {
        const auto script = completion_script(taken<Completion>({"completion", std::string(shell)}).shell);
        CHECK(mentions(std::string(script), kCompleteWord));
    }
}
