// What the grammars of all commands are made of. Only for arguments*.cpp.
#pragma once

#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include "shared/error.h"

namespace joblet::cli {

// Thrown by the grammars and caught by parse_command_line: CLI11 reports by exception, so what it lets through is refused in
// the same way.
struct Refused {
    Error error;
};

Error invalid(std::string message, std::string hint);
std::string in_quotes(std::string_view text);

// Throws Refused. `what` is named: "volume", "job".
void check_name(std::string_view what, std::string_view name);

// Values of the options that each command has.
struct CommonOptions {
    std::string socket;
    std::string format = "table";
};

// Gives a command its options --help, --socket and --format, its line of usage, and what its help ends with.
void set_up(CLI::App& command, CommonOptions& options, std::string usage, std::string end);
// The line of usage of a command that was set up.
const std::string& usage_of(const CLI::App& command);

} // namespace joblet::cli
