// What a compiled filter says to a call, found out without making it: classic BPF as seccomp(2) runs it.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "shared/filter.h"

namespace joblet::testing {

// SECCOMP_RET_… with its data. Throws on an instruction that no filter here has.
inline std::uint32_t evaluate(const FilterProgram& program, int number, const std::array<std::uint64_t, 6>& arguments,
                              std::uint32_t architecture = AUDIT_ARCH_X86_64) {
    seccomp_data data{};
    data.nr = number;
    data.arch = architecture;
    std::memcpy(&data.args[0], arguments.data(), sizeof data.args);
    std::uint32_t accumulator = 0;
    for (std::size_t at = 0; at < program.instructions.size();) {
        sock_filter instruction{};
        std::memcpy(&instruction, &program.instructions[at], sizeof instruction);
        const auto jump = [&](bool taken) { at += 1U + (taken ? instruction.jt : instruction.jf); };
        switch (instruction.code) {
        case BPF_LD | BPF_W | BPF_ABS:
            std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + instruction.k, sizeof accumulator);
            ++at;
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            accumulator &= instruction.k;
            ++at;
            break;
        case BPF_JMP | BPF_JA:
            at += 1U + instruction.k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            jump(accumulator == instruction.k);
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            jump(accumulator > instruction.k);
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            jump(accumulator >= instruction.k);
            break;
        case BPF_RET | BPF_K:
            return instruction.k;
        default:
            throw std::runtime_error("an instruction that no filter has");
        }
    }
    throw std::runtime_error("the filter has no end");
}

// Whether the conditions of a row hold, by the table alone.
inline bool holds(const std::array<ArgumentRule, 4>& rules, const std::array<std::uint64_t, 6>& arguments) {
    for (const auto& rule : rules) {
        const std::uint64_t value = arguments[rule.argument];
        switch (rule.test) {
        case ArgumentRule::Test::None:
            break;
        case ArgumentRule::Test::Equal:
            if (value != rule.value) {
                return false;
            }
            break;
        case ArgumentRule::Test::MaskedEqual:
            if ((value & rule.mask) != rule.value) {
                return false;
            }
            break;
        case ArgumentRule::Test::LessOrEqual:
            if (value > rule.value) {
                return false;
            }
            break;
        }
    }
    return true;
}

} // namespace joblet::testing
