// What rnx takes on its command line, and how it refuses everything else.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "tests/unit/cli_words.h"

using namespace joblet;
using namespace joblet::cli;

TEST_CASE("the first word that is no option ends rnx's options") {
    struct Row {
        Words words;
        Words command;
        std::size_t volumes;
    };
    const std::vector<Row> rows = {
        {{"run", "ls", "-l", "--volume", "x"}, {"ls", "-l", "--volume", "x"}, 0},
        {{"run", "--", "ls", "--help"}, {"ls", "--help"}, 0},
        {{"run", "ls", "--", "-x"}, {"ls", "--", "-x"}, 0},
        {{"run", "--", "--", "x"}, {"--", "x"}, 0},
        {{"run", "--", "-x"}, {"-x"}, 0},
        {{"run", "-"}, {"-"}, 0},
        {{"run", "-v", "data", "sh", "-c", "exit 3"}, {"sh", "-c", "exit 3"}, 1},
        {{"run", "-vdata", "sh"}, {"sh"}, 1},
        {{"run", "--volume=data", "--volume", "more:/x:ro", "--", "sh"}, {"sh"}, 2},
        {{"--socket", "run", "run", "--format", "json", "-v", "run", "run", "run"}, {"run", "run"}, 1},
        // A command may have the name of one of ours, and words that the parser of options would unpack
        {{"run", "volume", "list"}, {"volume", "list"}, 0},
        {{"run", "version"}, {"version"}, 0},
        {{"run", "[", "-f", "x", "]"}, {"[", "-f", "x", "]"}, 0},
        {{"run", "echo", "[a,b]", "", "{}", "%%", "a=b"}, {"echo", "[a,b]", "", "{}", "%%", "a=b"}, 0},
        {{"run", ""}, {""}, 0},
    };
    for (const auto& row : rows) {
        const auto run = taken<Run>(row.words);
        CHECK(run.command == row.command);
        CHECK(run.volumes.size() == row.volumes);
    }
}

TEST_CASE("what run refuses has the status 125, which no other failure of rnx has") {
    const std::vector<Words> rows = {
        {"run"},
        {"run", "--"},
        {"run", "-v"},
        {"run", "-v", "data"},
        {"run", "--bogus", "sh"},
        {"run", "-v", "a", "-v", "a", "sh"},
        {"run", "-v", "a:/x", "-v", "b:/x", "sh"},
        {"run", "-v", "a:/x", "-v", "b:/x/y", "sh"},
        {"run", "-v", "a:relative", "sh"},
        {"run", "--format=xml", "sh"},
    };
    for (const auto& words : rows) {
        CHECK(refused(words).exit_status == kExitRunFailed);
    }
    Words many = {"run"};
    for (int i = 0; i <= 16; ++i) {
        many.push_back("-vvolume" + std::to_string(i));
    }
    many.emplace_back("sh");
    CHECK(mentions(refused(many).error.message, "17"));
}

TEST_CASE("a job's volume is NAME[:/PATH][:ro]") {
    const auto plain = parse_run_volume("data");
    REQUIRE(plain);
    CHECK(plain->name == "data");
    CHECK(plain->target.empty());
    CHECK_FALSE(plain->read_only);
    const auto read_only = parse_run_volume("data:ro");
    REQUIRE(read_only);
    CHECK(read_only->target.empty());
    CHECK(read_only->read_only);
    const auto full = parse_run_volume("data:/srv/in:ro");
    REQUIRE(full);
    CHECK(full->target == "/srv/in");
    CHECK(full->read_only);
    const auto target = parse_run_volume("data:/srv");
    REQUIRE(target);
    CHECK(target->target == "/srv");
    CHECK_FALSE(target->read_only);

    for (const char* bad : {"", ":", ":ro", ":/x", "data:", "data:x", "data:/x:rw", "data::ro", "data:/", "data:/x/", "data://x",
                            "data:/../x", "data:/a b", "da ta", "-v", "data:/x:", "data:ro:ro"}) {
        CAPTURE(bad);
        const auto volume = parse_run_volume(bad);
        REQUIRE_FALSE(volume);
        CHECK_FALSE(volume.error().hint.empty());
    }
    for (const char* reserved : {"data:/proc", "data:/etc/x", "data:/volumes/data", "data:/work", "data:/tmp/x", "data:/usr/lib"}) {
        CAPTURE(reserved);
        const auto volume = parse_run_volume(reserved);
        REQUIRE_FALSE(volume);
        CHECK(mentions(volume.error().hint, "/data"));
    }
}

TEST_CASE("the socket is the option's, else the environment's, else the usual one") {
    CHECK(parse({"version"})->socket == kDefaultSocket);
    CHECK(parse({"version"}, "/env")->socket == "/env");
    CHECK(parse({"version", "--socket", "/option"}, "/env")->socket == "/option");
    CHECK(parse({"--socket=/option", "volume", "ls"}, "/env")->socket == "/option");
}

TEST_CASE("errors are written in the format that was asked for") {
    CHECK(refused({"volume", "create", "--format=json"}).format == Format::Json);
    CHECK(refused({"--format", "json", "bogus"}).format == Format::Json);
    CHECK(refused({"volume", "create"}).format == Format::Table);
}

TEST_CASE("help and version are texts to show, everywhere but after a job's command") {
    CHECK(mentions(taken<ShowText>({"--help"}).text, "volume"));
    CHECK(mentions(taken<ShowText>({"volume", "create", "--help"}).text, "--size"));
    CHECK(mentions(taken<ShowText>({"run", "-h"}).text, "COMMAND"));
    CHECK(mentions(taken<ShowText>({"--version"}).text, "rnx "));
    CHECK(taken<Run>({"run", "sh", "--help"}).command.size() == 2);
    CHECK(refused({}).exit_status == kExitUsage);
    CHECK(refused({"volume"}).exit_status == kExitUsage);
    CHECK(mentions(refused({"bogus"}).error.message, "bogus"));
}
