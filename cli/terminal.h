// Descriptors 0, 1 and 2 as rnx finds them.
#pragma once

#include <unistd.h>

#include <optional>
#include <string_view>

namespace joblet::cli {

// Opens the null device in the place of each of 0, 1 and 2 that is closed, so that no other file can take it.
void open_missing_stdio();

// Columns of the terminal at `fd`, by default stdout; nullopt if it is none.
std::optional<unsigned> terminal_width(int fd = STDOUT_FILENO);

// Throws CommandFailure if not everything could be written.
void write_stdout(std::string_view text);
// Says nothing if it fails: there is nobody left to tell.
void write_stderr(std::string_view text);

} // namespace joblet::cli
