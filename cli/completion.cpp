#include "cli/completion.h"

#include <algorithm>
#include <array>

namespace joblet::cli {
namespace {

constexpr std::array<std::string_view, 3> kFormats = {"table", "json", "yaml"};
constexpr std::array<std::string_view, 2> kTypes = {"filesystem", "memory"};
constexpr std::array<std::string_view, 5> kBackends = {"auto", "image", "project-quota", "btrfs", "tmpfs"};
constexpr std::array<std::string_view, 4> kStatuses = {"available", "in_use", "trashed", "quarantined"};
constexpr std::array<std::string_view, 4> kOrders = {"name", "created", "size", "last-used"};
constexpr std::array<std::string_view, 3> kStates = {"starting", "running", "ended"};
constexpr std::array<std::string_view, 2> kNetworks = {"none", "host"};
constexpr std::array<std::string_view, 8> kSignals = {"TERM", "KILL", "HUP", "INT", "QUIT", "USR1", "USR2", "STOP"};
constexpr std::array<std::string_view, 3> kShells = {"bash", "zsh", "fish"};

struct Values {
    std::string_view option;
    std::span<const std::string_view> words;
};
constexpr std::array kValues = {
    Values{"--format", kFormats},   Values{"--type", kTypes},     Values{"--backend", kBackends},
    Values{"--status", kStatuses},  Values{"--sort", kOrders},    Values{"--state", kStates},
    Values{"--network", kNetworks}, Values{"--signal", kSignals}, Values{"SHELL", kShells},
};

using From = Candidates::From;
struct Source {
    std::string_view option;
    From from;
};
constexpr std::array kSources = {
    Source{"--volume", From::Volumes}, Source{"--base", From::Bases}, Source{"--env-file", From::Files},
    Source{"--socket", From::Files},   Source{"NAME", From::Volumes}, Source{"JOB", From::Jobs},
};

const OptionText* option_of(const CommandText& command, std::string_view name) {
    const auto found = std::ranges::find_if(
        command.options, [name](const OptionText& option) { return std::ranges::find(option.names, name) != option.names.end(); });
    return found == command.options.end() || found->is_word ? nullptr : &*found;
}

// The option whose value the next word is; nullptr: none.
const OptionText* wants_next(const CommandText& command, std::string_view word) {
    if (word.starts_with("--")) {
        const auto* option = word.contains('=') ? nullptr : option_of(command, word);
        return option != nullptr && !option->value.empty() ? option : nullptr;
    }
    for (std::size_t i = 1; i < word.size(); ++i) {
        const auto* option = option_of(command, std::string{'-', word[i]});
        if (option != nullptr && !option->value.empty()) {
            return i + 1 == word.size() ? option : nullptr;
        }
    }
    return nullptr;
}

void complete_value(const CommandText& command, const OptionText& option, Candidates& out) {
    const auto name = std::ranges::find_if(option.names, [&](const auto& text) { return option.is_word || text.starts_with("--"); });
    for (const auto word : values_of(*name)) {
        out.words.push_back({std::string(word), ""});
    }
    const auto source = std::ranges::find(kSources, std::string_view(*name), &Source::option);
    // A name that is to be made up is none of those that are there
    if (source == kSources.end() || command.path == "rnx volume create" || (*name == "NAME" && out.begin.contains(':'))) {
        return;
    }
    out.from = command.path == "rnx volume restore" && *name == "NAME" ? From::Trash : source->from;
}

void complete_option(const CommandText& command, Candidates& out) {
    for (const auto& option : command.options) {
        if (option.is_word) {
            continue;
        }
        // The long one says more; the short one only where it is the only one, or for who typed a single dash
        const auto name = std::ranges::find_if(option.names, [](const auto& text) { return text.starts_with("--"); });
        out.words.push_back({name == option.names.end() ? option.names.front() : *name, option.what});
    }
}

void complete_word(const CommandText& command, std::size_t place, Candidates& out) {
    for (const auto& below : command.commands) {
        out.words.push_back({below.name, below.what});
    }
    const OptionText* word = nullptr;
    for (const auto& option : command.options) {
        if (option.is_word && (word == nullptr || place > 0)) {
            place -= word == nullptr ? 0 : 1;
            word = &option;
        }
    }
    if (word != nullptr && (place == 0 || word->repeats)) {
        complete_value(command, *word, out);
    }
}

} // namespace

Candidates candidates_for(const CommandText& rnx, std::span<const std::string> words) {
    Candidates out;
    const CommandText* command = &rnx;
    const OptionText* pending = nullptr;
    std::size_t place = 0; // how many words without a dash the command has already
    const std::string last = words.empty() ? "" : words.back();
    bool only_words = false;
    for (const auto& word : words.first(words.empty() ? 0 : words.size() - 1)) {
        if (pending != nullptr) {
            out.socket = option_of(*command, "--socket") == pending ? word : out.socket;
            pending = nullptr;
        } else if (word == "--") {
            only_words = true;
        } else if (!only_words && word.size() > 1 && word.front() == '-') {
            out.socket = word.starts_with("--socket=") ? word.substr(word.find('=') + 1) : out.socket;
            pending = wants_next(*command, word);
        } else if (const auto below = std::ranges::find_if(command->commands,
                                                           [&word](const CommandText& candidate) {
                                                               return candidate.name == word ||
                                                                      std::ranges::find(candidate.aliases, word) != candidate.aliases.end();
                                                           });
                   below != command->commands.end()) {
            command = &*below;
        } else if (command->path == "rnx run") {
            return out; // a job's own words, of which nobody here knows anything
        } else {
            ++place;
        }
    }
    out.begin = last;
    if (pending != nullptr) {
        complete_value(*command, *pending, out);
    } else if (const auto equals = last.find('='); !only_words && last.starts_with("--") && equals != std::string::npos) {
        const auto* option = option_of(*command, last.substr(0, equals));
        out.prefix = last.substr(0, equals + 1);
        out.begin = last.substr(equals + 1);
        if (option != nullptr && !option->value.empty()) {
            complete_value(*command, *option, out);
        }
    } else if (!only_words && last.starts_with('-')) {
        complete_option(*command, out);
    } else {
        complete_word(*command, place, out);
    }
    return out;
}

std::span<const std::string_view> values_of(std::string_view option) {
    const auto found = std::ranges::find(kValues, option, &Values::option);
    return found == kValues.end() ? std::span<const std::string_view>{} : found->words;
}

std::string_view completion_script(Completion::Shell shell) {
    // bash takes '=' and ':' for ends of words: they are put together again, and what it takes for the word before them cut off.
    static constexpr std::string_view kBash = R"(# bash completion of rnx
_rnx() {
  local -a words=()
  local i word joined=
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if ((i > 1)) && { [[ $word == [=:] ]] || [[ $joined ]]; }; then
      words[${#words[@]} - 1]+=$word
    else
      words+=("$word")
    fi
    joined=
    if [[ $word == [=:] ]]; then joined=yes; fi
  done
  local typed=${words[${#words[@]} - 1]} current=${COMP_WORDS[COMP_CWORD]}
  if [[ $current == [=:] ]]; then current=; fi
  local before=${typed%"$current"}
  COMPREPLY=()
  while IFS=$'\t' read -r word _; do
    if [[ $word == :files ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$current")
    else
      COMPREPLY+=("${word#"$before"}")
    fi
  done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
}
complete -F _rnx rnx
)";
    static constexpr std::string_view kZsh = R"(#compdef rnx
_rnx() {
  local -a found
  local line word what
  while IFS=$'\t' read -r word what; do
    if [[ $word == :files ]]; then
      compset -P '*='
      _files
      return
    fi
    found+=("${word//:/\\:}${what:+:$what}")
  done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  _describe -V rnx found
}
if [[ $funcstack[1] == _rnx ]]; then
  _rnx "$@"
else
  compdef _rnx rnx
fi
)";
    static constexpr std::string_view kFish = R"(# fish completion of rnx
function __rnx_complete
    set -l words (commandline -opc)
    set -l found ($words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null)
    if test "$found[1]" = ":files"
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $found
    end
end
complete -c rnx -f -k -a '(__rnx_complete)'
)";
    switch (shell) {
    case Completion::Shell::Zsh:
        return kZsh;
    case Completion::Shell::Fish:
        return kFish;
    case Completion::Shell::Bash:
        break;
    }
    return kBash;
}

} // namespace joblet::cli
