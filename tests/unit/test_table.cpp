// Tables that fit a terminal, whatever is in them.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "cli/table.h"

using namespace joblet::cli;

TEST_CASE("the columns of a text are those that a terminal gives it") {
    CHECK(columns_of("") == 0);
    CHECK(columns_of("data") == 4);
    CHECK(columns_of("caf\xc3\xa9") == 4);
    CHECK(columns_of("\xe2\x80\xa6") == 1);
    CHECK(columns_of("\xe6\xbc\xa2\xe5\xad\x97") == 4); // two Han characters
    CHECK(columns_of("\xf0\x9f\x98\x80") == 2);         // a face
    // What is not UTF-8 counts byte by byte
    CHECK(columns_of("\xff\xfe") == 2);
    CHECK(columns_of("\xe6\xbc") == 2);
    CHECK(columns_of("\xc3(") == 2);
}

TEST_CASE("a text is cut between characters, and says so") {
    CHECK(cut("data", 4) == "data");
    CHECK(cut("data", 3) == "da…");
    CHECK(cut("data", 1) == "…");
    CHECK(cut("data", 0).empty());
    CHECK(cut("", 0).empty());
    CHECK(cut("\xc3\xa9\xc3\xa9\xc3\xa9", 2) == "\xc3\xa9…");
    CHECK(cut("\xe6\xbc\xa2\xe5\xad\x97", 4) == "\xe6\xbc\xa2\xe5\xad\x97");
    CHECK(cut("\xe6\xbc\xa2\xe5\xad\x97", 3) == "\xe6\xbc\xa2…");
    CHECK(cut("\xe6\xbc\xa2\xe5\xad\x97", 2) == "…");
}

TEST_CASE("a text is parted at spaces, and what is too long anywhere") {
    using Lines = std::vector<std::string>;
    CHECK(wrapped("one two three", 100) == Lines{"one two three"});
    CHECK(wrapped("one two three", 7) == Lines{"one two", "three"});
    CHECK(wrapped("one two three", 6) == Lines{"one", "two", "three"});
    CHECK(wrapped("one twothree", 4) == Lines{"one", "twot", "hree"});
    CHECK(wrapped("abcdefgh x", 3) == Lines{"abc", "def", "gh", "x"});
    CHECK(wrapped("abcdefgh x", 4) == Lines{"abcd", "efgh", "x"});
    CHECK(wrapped("\xe6\xbc\xa2\xe5\xad\x97", 3) == Lines{"\xe6\xbc\xa2", "\xe5\xad\x97"});
    CHECK(wrapped("\xe6\xbc\xa2\xe5\xad\x97", 1) == Lines{"\xe6\xbc\xa2", "\xe5\xad\x97"});
    CHECK(wrapped("", 5) == Lines{""});
}

TEST_CASE("columns are as wide as what is in them, and no line ends with spaces") {
    const std::vector<TableColumn> columns = {{"A", "caf\xc3\xa9", "x"}, {"LONG", "1", ""}};
    CHECK(render_columns(columns, std::nullopt) == "A     LONG\ncaf\xc3\xa9  1\nx\n");
    CHECK(render_columns(columns, 10) == render_columns(columns, std::nullopt));
}

TEST_CASE("the last column gives way first, then the widest, and none below its title") {
    const std::vector<TableColumn> columns = {{"A", "aaaaaaaa"}, {"B", "bbbbbb"}, {"C", "cccccccc"}};
    CHECK(render_columns(columns, 26) == "A         B       C\naaaaaaaa  bbbbbb  cccccccc\n");
    CHECK(render_columns(columns, 22) == "A         B       C\naaaaaaaa  bbbbbb  ccc…\n");
    CHECK(render_columns(columns, 19) == "A         B       C\naaaaaaaa  bbbbbb  …\n");
    CHECK(render_columns(columns, 17) == "A       B       C\naaaaa…  bbbbbb  …\n");
    CHECK(render_columns(columns, 15) == "A      B      C\naaaa…  bbbb…  …\n");
    CHECK(render_columns(columns, 7) == "A  B  C\n…  …  …\n");
    CHECK(render_columns(columns, 5) == "A  B…\n…  ……\n");
    CHECK(render_columns(columns, 1) == "…\n…\n");
}
