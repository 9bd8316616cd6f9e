#include "cli/environment.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "cli/output.h"

namespace joblet::cli {
namespace {

// What is wrong with a line, if anything is.
std::optional<std::string> problem_of(std::string_view line) {
    const auto name = line.substr(0, line.find('='));
    if (line.contains('\0')) {
        return "a NUL is in it";
    }
    if (name.size() == line.size()) {
        return "it has no '='";
    }
    if (name.empty()) {
        return "a name is missing before '='";
    }
    if (std::ranges::any_of(name, [](char c) { return c == ' ' || c == '\t'; })) {
        return "there is a blank in the name \"" + printable(name) + "\"";
    }
    return std::nullopt;
}

} // namespace

std::expected<std::vector<std::string>, Error> parse_environment_file(std::string_view text, std::string_view file) {
    std::vector<std::string> variables;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const auto end = std::min(text.find('\n'), text.size());
        auto line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
        if (line.empty() || line.starts_with('#')) {
            continue;
        }
        if (const auto problem = problem_of(line)) {
            return std::unexpected(Error{ErrorCode::InvalidArgument,
                                         "line " + std::to_string(number) + " of " + std::string(file) + " is not valid: " + *problem,
                                         "each line is KEY=VALUE, or a comment that begins with #, or empty"});
        }
        variables.emplace_back(line);
    }
    return variables;
}

std::expected<std::vector<std::string>, Error> resolve_variables(std::span<const Variable> variables, const Lookup& lookup) {
    std::vector<std::string> resolved;
    resolved.reserve(variables.size());
    for (const auto& [name, value] : variables) {
        const char* own = value ? value->c_str() : lookup(name);
        if (own == nullptr) {
            return std::unexpected(Error{ErrorCode::InvalidArgument,
                                         "the variable \"" + name + "\" has no value: it is not set here either",
                                         "write --env " + name + "=VALUE, or export it"});
        }
        resolved.push_back(name + "=" + own);
    }
    return resolved;
}

} // namespace joblet::cli
