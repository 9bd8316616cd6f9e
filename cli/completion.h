// What a word of rnx can become, and the scripts that ask. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "cli/command_tree.h"

namespace joblet::cli {

struct Candidate {
    std::string word;
    std::string what;
};

struct Candidates {
    enum class From : std::uint8_t { Words, Volumes, Trash, Jobs, Bases, Files };
    From from = From::Words;
    std::vector<Candidate> words; // Words: all there are; those that do not start with `begin` are none
    std::string prefix;           // what stands before it in the same word: "--base="
    std::string begin;            // what was typed of it
    std::string socket;           // of --socket; empty: not given
};

// `words`: after "rnx"; the last one is to be completed, and may be empty.
Candidates candidates_for(const CommandText& rnx, std::span<const std::string> words);

// The words that the value of an option can be, as the reference has them; empty: any. "--type" and so on.
std::span<const std::string_view> values_of(std::string_view option);

std::string_view completion_script(Completion::Shell shell);

} // namespace joblet::cli
