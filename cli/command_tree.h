// What rnx takes, as data: for the reference, the man pages and completion. Pure.
#pragma once

#include <string>
#include <vector>

namespace joblet::cli {

struct OptionText {
    std::vector<std::string> names; // "-v", "--volume"; of a word without a dash: its one name, "NAME"
    std::string value;              // "VOLUME"; empty: takes none
    std::string what;
    bool is_word = false; // stands by itself, without a dash
    bool repeats = false; // more than one may follow
    bool required = false;
};

struct CommandText {
    std::string path; // "rnx volume create"
    std::string name; // "create"
    std::vector<std::string> aliases;
    std::string what;
    std::string usage;
    std::string end; // of its help: explanations and examples
    std::vector<OptionText> options;
    std::vector<CommandText> commands;
};

CommandText command_tree();

} // namespace joblet::cli
