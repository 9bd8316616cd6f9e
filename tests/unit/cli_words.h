// Words as typed, and what rnx makes of them.
#pragma once

#include <doctest/doctest.h>

#include <expected>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/arguments.h"

namespace joblet::cli {

using Words = std::vector<std::string>;

inline std::expected<CommandLine, UsageError> parse(const Words& words, std::string_view socket = "") {
    return parse_command_line(words, socket);
}

template <class Taken> Taken taken(const Words& words) {
    const auto line = parse(words);
    const std::string message = line ? "" : line.error().error.message;
    CAPTURE(message);
    REQUIRE(line);
    REQUIRE(std::holds_alternative<Taken>(line->command));
    return std::get<Taken>(line->command);
}

inline UsageError refused(const Words& words) {
    const auto line = parse(words);
    REQUIRE_FALSE(line);
    CHECK(line.error().error.code == ErrorCode::InvalidArgument);
    CHECK_FALSE(line.error().error.message.empty());
    CHECK_FALSE(line.error().error.hint.empty());
    return line.error();
}

inline bool mentions(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

struct RefusedRow {
    Words words;
    std::string message; // a part of it
    std::string hint;    // likewise
};

inline void check_refused(const std::vector<RefusedRow>& rows) {
    for (const auto& row : rows) {
        const auto problem = refused(row.words);
        CAPTURE(problem.error.message);
        CAPTURE(problem.error.hint);
        CHECK(mentions(problem.error.message, row.message));
        CHECK(mentions(problem.error.hint, row.hint));
        CHECK(problem.exit_status == kExitUsage);
    }
}

} // namespace joblet::cli
