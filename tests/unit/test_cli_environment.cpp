// The environment of a job: from a file, from the caller.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "cli/environment.h"

using namespace joblet;
using namespace joblet::cli;

using Texts = std::vector<std::string>;

TEST_CASE("a file sets one variable in a line, and its value is as it stands") {
    CHECK(parse_environment_file("", "f") == Texts{});
    CHECK(parse_environment_file("A=1\nB=two words \nC=\nD=a=b#c\n", "f") == Texts{"A=1", "B=two words ", "C=", "D=a=b#c"});
    CHECK(parse_environment_file("# a comment\n\n   \n\t# another\n  A=1\nB=\"x\"", "f") == Texts{"A=1", "B=\"x\""});
}

TEST_CASE("a line that sets nothing is refused, with its file and number") {
    struct Row {
        std::string text;
        std::string where;
    };
    const std::vector<Row> rows = {
        {"A", "line 1 of the.env"},          {"\n# x\nA=1\nexport B=2\n", "line 4 of the.env"}, {"=x", "line 1 of the.env"},
        {"A=1\nB C=1", "line 2 of the.env"}, {std::string("A=\0", 3), "line 1 of the.env"},
    };
    for (const auto& row : rows) {
        CAPTURE(row.text);
        const auto result = parse_environment_file(row.text, "the.env");
        REQUIRE_FALSE(result);
        CHECK(result.error().message.find(row.where) != std::string::npos);
        CHECK_FALSE(result.error().hint.empty());
    }
}

TEST_CASE("a variable without a value takes the caller's, and it is an error if he has none") {
    const Lookup lookup = [](const std::string& name) { return name == "HAS" ? "own" : nullptr; };
    CHECK(resolve_variables(std::vector<Variable>{{"A", "1"}, {"HAS", std::nullopt}, {"B", ""}}, lookup) == Texts{"A=1", "HAS=own", "B="});
    const auto result = resolve_variables(std::vector<Variable>{{"HAS_NOT", std::nullopt}}, lookup);
    REQUIRE_FALSE(result);
    CHECK(result.error().message.find("HAS_NOT") != std::string::npos);
}
