// Arguments close to what the rows of a table ask for: on the boundary, one beside it, and one bit away.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "shared/filter.h"

namespace joblet::testing {

using Arguments = std::array<std::uint64_t, 6>;

inline constexpr std::uint64_t kAllOnes = ~0ULL;
inline constexpr std::uint64_t kUpperHalf = 0xffffffff00000000ULL;

// Meets every condition of a row, with nothing else set.
inline Arguments exact_arguments(const std::array<ArgumentRule, 4>& rules) {
    Arguments exact{};
    for (const auto& rule : rules) {
        if (rule.test != ArgumentRule::Test::None) {
            exact[rule.argument] |= rule.value;
        }
    }
    return exact;
}

inline void add_around(std::vector<Arguments>& out, const Arguments& base, std::size_t argument) {
    const auto with = [&](std::uint64_t value) {
        Arguments changed = base;
        changed[argument] = value;
        out.push_back(changed);
    };
    const std::uint64_t value = base[argument];
    for (unsigned bit = 0; bit < 64; ++bit) {
        with(value ^ 1ULL << bit);
    }
    with(value + 1);
    with(value - 1);
    with(value | kUpperHalf);
    with(value ^ kUpperHalf);
    with(~value);
    with(0);
    with(kAllOnes);
}

inline std::vector<Arguments> perturbations(const std::array<ArgumentRule, 4>& rules) {
    const Arguments exact = exact_arguments(rules);
    std::vector<Arguments> out = {exact};
    for (std::size_t argument = 0; argument < exact.size(); ++argument) {
        add_around(out, exact, argument);
    }
    // What a mask leaves out may be anything
    Arguments filled = exact;
    for (auto& value : filled) {
        value = kAllOnes;
    }
    for (const auto& rule : rules) {
        switch (rule.test) {
        case ArgumentRule::Test::None:
            break;
        case ArgumentRule::Test::MaskedEqual:
            filled[rule.argument] = (filled[rule.argument] & ~rule.mask) | rule.value;
            break;
        case ArgumentRule::Test::Equal:
        case ArgumentRule::Test::LessOrEqual:
            filled[rule.argument] = rule.value;
            break;
        }
    }
    out.push_back(filled);
    for (std::size_t argument = 0; argument < filled.size(); ++argument) {
        add_around(out, filled, argument);
    }
    return out;
}

} // namespace joblet::testing
