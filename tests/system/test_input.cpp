// Bad input: each gets a clear error, changes nothing and loses nothing.
#include <doctest/doctest.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("input");

namespace {

struct Bad {
    Words words;
    const char* says; // a part of what stderr must tell
};

} // namespace

TEST_CASE("malformed names, sizes, types, targets and options are refused with the accepted forms") {
    const Installation here;
    here.create("data");
    here.create("more");
    const json before = here.json_of({"volume", "list"});
    const std::string long_name(64, 'x');
    const Bad rows[] = {
        {{"volume", "create", "", "--size=1MiB"}, "1 to 63 characters"},
        {{"volume", "create", ".hidden", "--size=1MiB"}, "1 to 63 characters"},
        {{"volume", "create", "a/b", "--size=1MiB"}, "1 to 63 characters"},
        {{"volume", "create", "../x", "--size=1MiB"}, "1 to 63 characters"},
        {{"volume", "create", "a b", "--size=1MiB"}, "1 to 63 characters"},
        {{"volume", "create", "a\nb", "--size=1MiB"}, "1 to 63 characters"},
        {{"volume", "create", "\xff", "--size=1MiB"}, "1 to 63 characters"},
        {{"volume", "create", long_name, "--size=1MiB"}, "1 to 63 characters"},
        {{"volume", "create", "x"}, "size"},
        {{"volume", "create", "x", "--size="}, "size"},
        {{"volume", "create", "x", "--size=0"}, "zero"},
        {{"volume", "create", "x", "--size=-5MB"}, "number above zero"},
        {{"volume", "create", "x", "--size=5XB"}, "unit"},
        {{"volume", "create", "x", "--size=1.0001K"}, "whole bytes"},
        {{"volume", "create", "x", "--size=50%"}, "unit"},
        {{"volume", "create", "x", "--size=99999999999999999999"}, "too large"},
        {{"volume", "create", "x", "--size=1023KiB"}, "1.0 MiB"},
        {{"volume", "create", "x", "--size=2000T"}, "1.0 PiB"},
        {{"volume", "create", "x", "--size=1MiB", "--type=tape"}, "filesystem"},
        {{"volume", "create", "x", "--size=1MiB", "--type="}, "filesystem"},
        {{"volume", "create", "x", "y", "--size=1MiB"}, "y"},
        {{"volume", "create", "x", "--size=1MiB", "--colour"}, "--colour"},
        {{"volume", "create", "x", "--size=1MiB", "--format=xml"}, "json"},
        {{"volume", "inspect", "nothing"}, "nothing"},
        {{"volume", "inspect"}, "NAME"},
        {{"volume", "remove", "nothing"}, "nothing"},
        {{"volume", "remove"}, "NAME"},
        {{"volume", "paint"}, "create|list"},
        {{"volume"}, "create"},
        {{"run"}, "COMMAND"},
        {{"run", "--"}, "COMMAND"},
        {{"run", "--no-such-option", "true"}, "--no-such-option"},
        {{"run", "-v", "nothing", "true"}, "nothing"},
        {{"run", "-v", "data:relative", "true"}, "NAME:/PATH"},
        {{"run", "-v", "data:/", "true"}, "absolute"},
        {{"run", "-v", "data:/a/../b", "true"}, "absolute"},
        {{"run", "-v", "data://a", "true"}, "absolute"},
        {{"run", "-v", "data:/a b", "true"}, "absolute"},
        {{"run", "-v", "data:/proc", "true"}, "/proc"},
        {{"run", "-v", "data:/usr/share", "true"}, "/usr"},
        {{"run", "-v", "data:/volumes/x", "true"}, "/volumes"},
        {{"run", "-v", "data:/work", "true"}, "/work"},
        {{"run", "-v", "data:/" + std::string(127, 'x'), "true"}, "absolute"},
        {{"run", "-v", "data:/a", "-v", "data:/b", "true"}, "data"},
        {{"run", "-v", "data:/a", "-v", "more:/a", "true"}, "/a"},
        {{"run", "-v", "data:/a", "-v", "more:/a/b", "true"}, "/a"},
        {{"run", "-v", "data:/a:rx", "true"}, "ro"},
        {{"run", "-v", "", "true"}, "NAME"},
        {{"run", "-v", ":/a", "true"}, "1 to 63 characters"},
    };
    for (const auto& [words, says] : rows) {
        std::string line;
        for (const auto& word : words) {
            line += "[" + word.substr(0, 70) + "] ";
        }
        CAPTURE(line);
        const auto outcome = here.run_rnx(words);
        CHECK(outcome.status != 0);
        CHECK(outcome.status < 128);
        CHECK(outcome.out.empty());
        CHECK_MESSAGE(outcome.err.find(says) != std::string::npos, outcome.err);
    }
    CHECK(here.json_of({"volume", "list"}) == before);
    CHECK(here.job_groups().empty());
}

TEST_CASE("errors are one sentence and a hint, or an object with --format json") {
    const Installation here;
    const auto plain = here.run_rnx({"volume", "inspect", "nothing"});
    CHECK(plain.err.find("\nhint: ") != std::string::npos);
    const auto structured = here.run_rnx({"volume", "inspect", "nothing", "--format", "json"});
    CHECK(structured.status == 1);
    CHECK(structured.out.empty());
    const json error = json::parse(structured.err);
    CHECK(error["error"]["code"] == "NOT_FOUND");
    CHECK(!error["error"]["message"].get<std::string>().empty());
    CHECK(error["error"].contains("hint"));
}

TEST_CASE("without a daemon, rnx says so and what to do") {
    const auto outcome = run({{binary("rnx"), "--socket", "/run/there-is-no-such.sock", "volume", "list"}});
    CHECK(outcome.status == 1);
    CHECK(outcome.err.find("hint: ") != std::string::npos);
    CHECK(run({{binary("rnx"), "--socket", "/run/there-is-no-such.sock", "run", "--", "true"}}).status == 125);
    CHECK(run({{binary("rnx"), "--socket", "/run/there-is-no-such.sock", "version"}}).out.find("client: ") == 0);
}

TEST_CASE("a store without room gives an error that says so, and nothing half made") {
    const Installation here(Installation::Options{"[limits]\nlargest_volume = \"1000TiB\"\ntotal_size = \"8000TiB\"\n", {}, {}});
    const auto outcome = here.run_rnx({"volume", "create", "huge", "--size=8T", "--format", "json"});
    CHECK(outcome.status == 1);
    CHECK(json::parse(outcome.err)["error"]["code"] == "OUT_OF_SPACE");
    CHECK(here.json_of({"volume", "list"}).empty());
    CHECK(run({{"/usr/bin/find", here.state() + "/volumes", here.state() + "/staging", "-mindepth", "1"}}).out.empty());
    here.create("huge", "1MiB"); // the name is free
}

TEST_SUITE_END();

} // namespace joblet::testing
