// The environment of a job, from what was typed and from files. Pure.
#pragma once

#include <cstddef>
#include <expected>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "shared/error.h"

namespace joblet::cli {

// What the kernel lets pass to a program, words and variables together, is less.
inline constexpr std::size_t kEnvironmentFileMax = std::size_t{2} << 20U;

// "NAME=VALUE" each. In a file: one in a line, VALUE up to its end, as it stands; empty lines and those that begin with # do not
// count, nor do blanks before NAME. `file` is named in errors, with the number of the line.
std::expected<std::vector<std::string>, Error> parse_environment_file(std::string_view text, std::string_view file);

// The same for variables as typed. `lookup`: the caller's value, nullptr if he has none, which is an error.
using Lookup = std::function<const char*(const std::string& name)>;
std::expected<std::vector<std::string>, Error> resolve_variables(std::span<const Variable> variables, const Lookup& lookup);

} // namespace joblet::cli
