#include <algorithm>
#include <cerrno>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tests/tables/process_tables.h"
#include "tests/tables/reference.h"

namespace joblet::testing {

namespace {

constexpr std::string_view kIntroduction =
    R"(# System calls

What each process may ask of the kernel once it serves, and why. This page is written from the tables that the filters are compiled from
(`syscall_docs_update` makes it anew, a test says when it is not current); the tables are beside each program's `main.cpp`.

How to read it:

- What is not in a process's table is not allowed to it: numbers of later kernels neither. *kill*: the call ends the process, all of its
  threads, with SIGSYS. *EPERM*: the call fails.
- A number of another architecture (i386, x32) kills, whatever the table.
- A filter is inherited over fork and exec, and cannot be taken off. Where several hold, the kernel takes the strictest answer.
- *Only if* is about the numbers that are given to a call, `a0` to `a5`. A filter cannot see what a pointer points to. `& 0xffffffff` is
  there where the kernel reads 32 bits of a number only.
- A call with several lines is allowed if one of them holds.
)";

std::string condition(const ArgumentRule& rule) {
    switch (rule.test) {
    case ArgumentRule::Test::Equal:
        return fmt::format("a{} = {:#x}", rule.argument, rule.value);
    case ArgumentRule::Test::MaskedEqual:
        return fmt::format("a{} & {:#x} = {:#x}", rule.argument, rule.mask, rule.value);
    case ArgumentRule::Test::LessOrEqual:
        return fmt::format("a{} ≤ {:#x}", rule.argument, rule.value);
    case ArgumentRule::Test::None:
        break;
    }
    return {};
}

std::string conditions(const std::array<ArgumentRule, 4>& rules) {
    std::vector<std::string> words;
    for (const auto& rule : rules) {
        if (rule.test != ArgumentRule::Test::None) {
            words.push_back(condition(rule));
        }
    }
    return fmt::format("{}", fmt::join(words, ", "));
}

std::string_view others(OtherCalls others) {
    switch (others) {
    case OtherCalls::KillProcess:
        return "kill";
    case OtherCalls::FailWithEPERM:
        return "EPERM";
    case OtherCalls::LeaveToAllowlist:
        break;
    }
    return "not its business";
}

std::size_t count_numbers(const std::vector<SyscallRule>& rows) {
    std::vector<int> numbers;
    numbers.reserve(rows.size());
    for (const auto& row : rows) {
        numbers.push_back(row.number);
    }
    std::ranges::sort(numbers);
    const auto repeated = std::ranges::unique(numbers);
    return numbers.size() - repeated.size();
}

// A job may call hundreds: those that are allowed without conditions and for the same reason share a line.
std::string call_lines(std::span<const SyscallRule> rows) {
    std::string out;
    for (std::size_t i = 0; i < rows.size();) {
        const auto& row = rows[i];
        const auto only_if = conditions(row.arguments);
        std::vector<std::string> names;
        do {
            names.push_back(fmt::format("`{}`", rows[i].name));
            ++i;
        } while (i < rows.size() && only_if.empty() && conditions(rows[i].arguments).empty() && rows[i].reason == row.reason);
        out += fmt::format("| {} | {} | {} |\n", fmt::join(names, " "), only_if, row.reason);
    }
    return out;
}

std::string refusal_lines(std::span<const SyscallRefusal> rows) {
    std::string out;
    for (std::size_t i = 0; i < rows.size();) {
        const auto& row = rows[i];
        std::vector<std::string> alternatives;
        do {
            alternatives.push_back(conditions(rows[i].arguments));
            ++i;
        } while (i < rows.size() && rows[i].number == row.number && rows[i].error == row.error && rows[i].reason == row.reason);
        out += fmt::format("| `{}` | {} | {} | {} |\n", row.name, fmt::join(alternatives, "; or "),
                           row.error == ENOSYS ? "ENOSYS" : "EPERM", row.reason);
    }
    return out;
}

std::string section(const ProcessTable& table) {
    auto out = fmt::format("\n## {}\n\n{} Table: `{}`.\n", table.process, table.remark, table.source);
    if (!table.includes.empty()) {
        out += fmt::format("\nBesides these rows it has those of: {}.\n", fmt::join(table.includes, ", "));
    }
    if (!table.own.empty()) {
        out += fmt::format("\n| call | only if | why |\n|---|---|---|\n{}", call_lines(table.own));
    }
    if (!table.refusals.empty()) {
        out += fmt::format("\n| refused | if | with | why |\n|---|---|---|---|\n{}", refusal_lines(table.refusals));
    }
    return out;
}

} // namespace

std::string tables_markdown() {
    const auto tables = process_tables();
    std::string out(kIntroduction);
    out += "\n| process | calls | all else | under the filters of |\n|---|---|---|---|\n";
    for (const auto& table : tables) {
        out += fmt::format("| {} | {} | {} | {} |\n", table.process, count_numbers(table.calls), others(table.others),
                           table.inherited.empty() ? "nobody" : fmt::format("{}", fmt::join(table.inherited, ", ")));
    }
    for (const auto& table : tables) {
        out += section(table);
    }
    return out;
}

} // namespace joblet::testing
