#include "cli/reference.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <vector>

namespace joblet::cli {
namespace {

// Each command has them; they are told once.
constexpr std::array<std::string_view, 3> kCommon = {"--help", "--socket", "--format"};

bool is_common(const OptionText& option) {
    return std::ranges::any_of(kCommon, [&](std::string_view name) { return std::ranges::find(option.names, name) != option.names.end(); });
}

// "-v, --volume VOLUME"
std::string heading_of(const OptionText& option) {
    std::string text;
    for (const auto& name : option.names) {
        text += text.empty() ? "" : ", ";
        text += name;
    }
    if (!option.value.empty()) {
        text += ' ';
        text += option.value;
    }
    return text;
}

std::vector<OptionText> options_of(const CommandText& command, bool common) {
    std::vector<OptionText> options;
    for (const bool words : {true, false}) { // words before options: that is how one reads a line of usage
        std::ranges::copy_if(command.options, std::back_inserter(options),
                             [common, words](const auto& option) { return is_common(option) == common && option.is_word == words; });
    }
    return options;
}

std::string what_of(const CommandText& command) {
    auto what = command.what;
    for (const auto& alias : command.aliases) {
        what += "; also `";
        what += alias;
        what += '`';
    }
    return what;
}

std::string in_cell(std::string_view text) {
    std::string out;
    for (const char c : text) {
        out += c == '|' ? "\\" : "";
        out += c;
    }
    return out;
}

void add_options(std::string& out, std::span<const OptionText> options) {
    if (options.empty()) {
        return;
    }
    out += "\n| | |\n|---|---|\n";
    for (const auto& option : options) {
        out += "| `" + in_cell(heading_of(option)) + "` | " + in_cell(option.what) + " |\n";
    }
}

void add_markdown(std::string& out, const CommandText& command) {
    out += "\n## " + command.path + "\n\n" + what_of(command) + "\n\n```\n" + command.usage + "\n```\n";
    add_options(out, options_of(command, false));
    out += "\n```\n" + command.end + "\n```\n";
    for (const auto& below : command.commands) {
        add_markdown(out, below);
    }
}

// What scdoc would take for its own: emphasis anywhere, other marks at the beginning of a line
std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        out += std::string_view("\\*_").contains(c) || (out.empty() && std::string_view("#`[]|-.~+<>").contains(c)) ? "\\" : "";
        out += c;
    }
    return out;
}

std::string literal(std::string_view text) {
    return "\n```\n" + std::string(text) + "\n```\n";
}

void add_page_options(std::string& out, std::span<const OptionText> options) {
    for (const auto& option : options) {
        out += "\n*" + escaped(heading_of(option)) + "*\n\t" + escaped(option.what) + "\n";
    }
}

void add_page_command(std::string& out, const CommandText& command) {
    out += "\n## " + command.path + "\n\n" + escaped(what_of(command)) + "\n" + literal(command.usage);
    add_page_options(out, options_of(command, false));
    out += literal(command.end);
    for (const auto& below : command.commands) {
        add_page_command(out, below);
    }
}

} // namespace

std::string reference_markdown(const CommandText& rnx) {
    std::string out = "# rnx\n\n" + rnx.what +
                      "\n\nThis page is written from the commands themselves: build the target `cli_docs_update` after a change.\n\n```\n" +
                      rnx.usage + "\n```\n";
    add_options(out, options_of(rnx, false));
    out += "\nOptions of every command:\n";
    add_options(out, options_of(rnx, true));
    out += "\n```\n" + rnx.end + "\n```\n";
    for (const auto& command : rnx.commands) {
        add_markdown(out, command);
    }
    return out;
}

std::string reference_page(const CommandText& rnx, std::string_view name) {
    const auto own = std::ranges::find_if(rnx.commands, [name](const CommandText& command) { return "rnx-" + command.name == name; });
    if (name != "rnx" && own == rnx.commands.end()) {
        return "";
    }
    const auto& command = name == "rnx" ? rnx : *own;
    std::string out = std::string(name) + "(1)\n\n# NAME\n\n" + std::string(name) + " - " + escaped(command.what) + "\n\n# SYNOPSIS\n" +
                      literal(command.usage) + "\n# DESCRIPTION\n" + literal(command.end);
    const auto options = options_of(command, false);
    if (!options.empty()) {
        out += "\n# OPTIONS\n";
        add_page_options(out, options);
    }
    if (!command.commands.empty()) {
        out += "\n# COMMANDS\n";
        for (const auto& below : command.commands) {
            if (name != "rnx") {
                add_page_command(out, below);
            } else {
                out += "\n*" + escaped(below.path) + "*\n\t" + escaped(below.what) + "\n";
            }
        }
    }
    out += "\n# OPTIONS OF EVERY COMMAND\n";
    add_page_options(out, options_of(rnx, true));
    out += "\n# ENVIRONMENT\n\n*JOBLET_SOCKET*\n\tthe socket of the daemon, unless --socket is given\n\n# SEE ALSO\n\n"
           "*rnx*(1), *rnx-run*(1), *rnx-job*(1), *rnx-volume*(1), *rnx-audit*(1)\n";
    return out;
}

} // namespace joblet::cli
