// What the grammars of all commands are made of. Only for arguments*.cpp.
#pragma once

#include <charconv>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>

#include "cli/arguments.h"
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

// A word that is typed, and what it means.
template <class Value> struct Word {
    std::string_view word;
    Value value;
};

// `unless_given` if the option was not. `what` is chosen: "volume type".
template <class Words, class Value>
Value choose(const Words& words, std::string_view typed, std::string_view what, std::string_view plural, Value unless_given) {
    if (typed.empty()) {
        return unless_given;
    }
    std::string known;
    for (const auto& [word, value] : words) {
        if (word == typed) {
            return value;
        }
        known += known.empty() ? "" : word == words.back().word ? " and " : ", ";
        known += word;
    }
    throw Refused{
        invalid("the " + std::string(what) + " " + in_quotes(typed) + " is unknown", std::string(plural) + " are " + std::move(known))};
}

// A whole number in decimal digits, and nothing else.
template <std::unsigned_integral Number> std::optional<Number> parse_number(std::string_view text) {
    Number number = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    return problem == std::errc{} && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

// `what` is sized: "size". Throws Refused.
std::uint64_t take_size(std::string_view what, std::string_view text);

// An option with a value. An empty one is none: a script whose variable is not set must not do something else.
template <class Target> CLI::Option& add_value(CLI::App& command, std::string name, Target& target, std::string type, std::string what) {
    return *command.add_option(std::move(name), target, std::move(what))
                ->type_name(std::move(type))
                ->allow_extra_args(false)
                ->check([](const std::string& value) { return std::string(value.empty() ? "a value is missing" : ""); });
}

// --all-users and --user, as typed.
struct ScopeOptions {
    std::string user; // empty: not given
    bool all_users = false;

    // `what` they are about: "volumes".
    void add_to(CLI::App& command, std::string_view what);
    // Throws Refused.
    [[nodiscard]] Scope take() const;
};

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
