// System call allowlists. Each program's own table, with a reason for every row, lies beside its main; this is the table's
// type and its compiler (libseccomp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace joblet {

// One condition on one argument; all conditions of a row must hold. Scalars only: a filter never sees what a pointer
// points to. Comparisons are of 64 bits; use MaskedEqual with a 32-bit mask where the kernel looks at 32 bits.
struct ArgumentRule {
    enum class Test : std::uint8_t { None, Equal, MaskedEqual, LessOrEqual };
    Test test = Test::None;
    std::uint8_t argument = 0; // 0 … 5
    std::uint64_t mask = 0;    // MaskedEqual only
    std::uint64_t value = 0;
};
constexpr ArgumentRule arg_is(std::uint8_t argument, std::uint64_t value) {
    return {ArgumentRule::Test::Equal, argument, 0, value};
}
// The kernel reads this argument as int or unsigned int: upper 32 bits do not count.
constexpr ArgumentRule arg_is32(std::uint8_t argument, std::uint32_t value) {
    return {ArgumentRule::Test::MaskedEqual, argument, 0xffffffffU, value};
}
constexpr ArgumentRule arg_has(std::uint8_t argument, std::uint64_t mask, std::uint64_t value) {
    return {ArgumentRule::Test::MaskedEqual, argument, mask, value};
}
constexpr ArgumentRule arg_at_most(std::uint8_t argument, std::uint64_t value) {
    return {ArgumentRule::Test::LessOrEqual, argument, 0, value};
}

struct SyscallRule {
    int number;              // __NR_…; a number of our own table for calls newer than the headers
    std::string_view name;   // for documentation and tests
    std::string_view reason; // why this program needs it
    std::array<ArgumentRule, 4> arguments{};
};
// A call refused with an errno other than the filter's default (clone3 for a job: ENOSYS).
struct SyscallRefusal {
    int number;
    std::string_view name;
    int error;
    std::string_view reason;
    std::array<ArgumentRule, 4> arguments{};
};

// LeaveToAllowlist: for a table of refusals alone, installed beside an allowlist. libseccomp cannot say "all but these values
// of one argument" in one filter; of two, the kernel takes the stricter answer.
enum class OtherCalls : std::uint8_t { KillProcess, FailWithEPERM, LeaveToAllowlist };

// Compiled once, early; the program is plain memory (struct sock_filter), so installing it later needs no allocation and
// no library.
struct FilterProgram {
    std::vector<std::uint64_t> instructions; // struct sock_filter, 8 bytes each
};
// An error is a sentence naming the row that libseccomp does not take.
std::expected<FilterProgram, std::string> compile_filter(std::span<const SyscallRule> allowed, std::span<const SyscallRefusal> refused,
                                                         OtherCalls others);

// prctl(PR_SET_NO_NEW_PRIVS) must have been set. Async-signal-safe. Returns 0 or errno.
int install_filter(const FilterProgram& program);

} // namespace joblet
