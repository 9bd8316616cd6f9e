#include "cli/arguments.h"

#include <algorithm>
#include <array>
#include <utility>

#include "cli/arguments_audit.h"
#include "cli/arguments_job.h"
#include "cli/arguments_run.h"
#include "cli/arguments_volume.h"
#include "cli/command_tree.h"
#include "cli/grammar.h"
#include "shared/name.h"

namespace joblet::cli {
namespace {

// The texts as typed, and the grammar they are typed in.
class Grammar {
  public:
    Grammar()
        : app_("Volumes for jobs, with limits that the kernel holds.", "rnx"), run_(app_, options_), job_(app_, options_),
          volume_(app_, options_), base_(app_.add_subcommand("base", "show the root file systems that a job can have")),
          base_list_(base_->add_subcommand("list", "show the bases of this host")),
          doctor_(app_.add_subcommand("doctor", "show what this host can hold, and whether the daemons' records are true")),
          audit_(app_, options_),
          completion_(app_.add_subcommand("completion", "print a script that lets your shell complete the words of rnx")),
          version_(app_.add_subcommand("version", "show the versions of rnx and of the daemon")) {
        set_up(app_, options_, "rnx [--socket PATH] run|job|volume|base|doctor|audit|completion|version …",
               "Examples:\n"
               "  rnx volume create data --size=1GB\n"
               "  rnx run --volume data -- sh -c 'date >>/volumes/data/log'");
        app_.add_flag("--version", version_flag_, "show the version of rnx and exit");
        app_.require_subcommand(0, 1);
        set_up(*base_, options_, "rnx base list …", "Example:\n  rnx base list");
        base_->require_subcommand(1);
        set_up(*base_list_, options_, "rnx base list [--format=table|json|yaml]", "Example:\n  rnx base list --format=json");
        base_list_->alias("ls");
        set_up(*doctor_, options_, "rnx doctor [--format=table|json|yaml]",
               "What is missing is told with what is lost by it and how to get it. Exit status: 0; 1 if store, records and\n"
               "kernel do not agree, which is told to root and admins only, or if the daemon could not be asked.\n"
               "\n"
               "Examples:\n"
               "  rnx doctor\n"
               "  rnx doctor --format=json");
        set_up(*completion_, options_, "rnx completion bash|zsh|fish",
               "Examples:\n"
               "  rnx completion bash >~/.local/share/bash-completion/completions/rnx\n"
               "  rnx completion zsh >~/.zfunc/_rnx     # with fpath+=~/.zfunc before compinit\n"
               "  rnx completion fish >~/.config/fish/completions/rnx.fish");
        completion_->add_option("SHELL", shell_, "bash, zsh or fish")->type_name("")->required();
        set_up(*version_, options_, "rnx version [--format=table|json|yaml]", "Example:\n  rnx version --format=json");
    }

    [[nodiscard]] const CLI::App& app() const {
        return app_;
    }

    CommandLine parse(std::span<const std::string> arguments, std::string_view socket_from_environment) {
        const std::size_t own = options_end(arguments);
        const auto before_command = arguments.first(own);
        for (const auto& word : before_command) {
            if (word.starts_with('[')) { // CLI11 would unpack "[a,b]" into two words
                throw Refused{
                    invalid("the word " + in_quotes(word) + " was not expected", "a volume's name has " + std::string(kNameForms))};
            }
        }
        // CLI11 wants the words in reverse. It never sees a job's command.
        std::vector<std::string> words(before_command.rbegin(), before_command.rend());
        try {
            app_.parse(words);
        } catch (const CLI::CallForHelp&) {
            return {.command = ShowText{app_.help()}};
        }
        CommandLine line;
        line.format = parse_format(options_.format);
        line.socket = !options_.socket.empty()           ? options_.socket
                      : !socket_from_environment.empty() ? std::string(socket_from_environment)
                                                         : kDefaultSocket;
        auto command = arguments.subspan(own);
        if (!command.empty() && command.front() == "--") {
            command = command.subspan(1);
        }
        line.command = take_command(command);
        return line;
    }

    // Usage of the command that was reached, also by a parse that failed.
    [[nodiscard]] std::string usage() const {
        const CLI::App* deepest = &app_;
        for (auto chosen = deepest->get_subcommands(); !chosen.empty(); chosen = deepest->get_subcommands()) {
            deepest = chosen.back();
        }
        return usage_of(*deepest);
    }

  private:
    // True if the option, or the last one of several letters ("-itv"), takes its value from the next word.
    static bool takes_next_word(const CLI::App& command, std::string_view word) {
        const auto takes_value = [&command](const std::string& name) {
            const auto* option = command.get_option_no_throw(name);
            return option != nullptr && option->get_items_expected_max() > 0;
        };
        if (word.starts_with("--")) {
            return !word.contains('=') && takes_value(std::string(word));
        }
        for (std::size_t i = 1; i < word.size(); ++i) {
            if (takes_value({'-', word[i]})) {
                return i + 1 == word.size(); // otherwise the rest is its value: -vNAME
            }
        }
        return false;
    }

    // Index of the first word that is neither an option nor the value of one.
    static std::size_t first_plain_word(const CLI::App& command, std::span<const std::string> words, std::size_t from) {
        while (from < words.size() && words[from].size() > 1 && words[from].front() == '-' && words[from] != "--") {
            from += takes_next_word(command, words[from]) ? 2 : 1;
        }
        return std::min(from, words.size());
    }

    // Where rnx's own words end: everywhere but in `run` they do not.
    [[nodiscard]] std::size_t options_end(std::span<const std::string> words) const {
        const auto command = first_plain_word(app_, words, 0);
        if (command == words.size() || words[command] != run_.app()->get_name()) {
            return words.size();
        }
        return first_plain_word(*run_.app(), words, command + 1);
    }

    static Format parse_format(std::string_view text) {
        if (text == "table") {
            return Format::Table;
        }
        if (text == "json") {
            return Format::Json;
        }
        if (text == "yaml") {
            return Format::Yaml;
        }
        throw Refused{invalid("the format " + in_quotes(text) + " is unknown", "formats are table, json and yaml")};
    }

    [[nodiscard]] Command take_command(std::span<const std::string> command) const {
        if (version_flag_) {
            return ShowText{"rnx " JOBLET_VERSION "\n"};
        }
        if (app_.got_subcommand(run_.app())) {
            return run_.take(command);
        }
        if (app_.got_subcommand(job_.app())) {
            return job_.take();
        }
        if (app_.got_subcommand(base_)) {
            return BaseListing{};
        }
        if (app_.got_subcommand(doctor_)) {
            return Doctor{};
        }
        if (app_.got_subcommand(audit_.app())) {
            return audit_.take();
        }
        if (app_.got_subcommand(completion_)) {
            constexpr std::array kShells = {Word{"bash", Completion::Shell::Bash}, Word{"zsh", Completion::Shell::Zsh},
                                            Word{"fish", Completion::Shell::Fish}};
            return Completion{choose(kShells, shell_.empty() ? "\"\"" : shell_, "shell", "shells", Completion::Shell::Bash)};
        }
        if (app_.got_subcommand(version_)) {
            return Version{};
        }
        if (app_.got_subcommand(volume_.app())) {
            return volume_.take();
        }
        throw Refused{
            invalid("a command is missing", "commands are run, job, volume, base, doctor, audit, completion and version; see rnx --help")};
    }

    bool version_flag_ = false;
    CommonOptions options_;
    CLI::App app_;
    RunGrammar run_;
    JobGrammar job_;
    VolumeGrammar volume_;
    CLI::App* base_;
    CLI::App* base_list_;
    CLI::App* doctor_;
    AuditGrammar audit_;
    CLI::App* completion_;
    CLI::App* version_;
    std::string shell_;
};

// For errors of a command line that could not be parsed to its end. Only words before the job's command count, but looking
// a little further can do no more than choose how an error is written.
Format format_wanted(std::span<const std::string> arguments) {
    for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
        if (arguments[i] == "--format=json" || (arguments[i] == "--format" && i + 1 < arguments.size() && arguments[i + 1] == "json")) {
            return Format::Json;
        }
    }
    return Format::Table;
}

// CLI11's sentences begin with a capital, may span lines, and count arguments ("--size: 1 required SIZE missing").
std::string as_sentence(std::string text) {
    std::ranges::replace(text, '\n', ' ');
    while (!text.empty() && (text.back() == ' ' || text.back() == '.')) {
        text.pop_back();
    }
    if (text.starts_with("The ") || text.starts_with("A ")) {
        text.front() = static_cast<char>(text.front() - 'A' + 'a');
    }
    const auto option_end = text.find(':');
    if (option_end != std::string::npos && text.ends_with(" missing")) {
        return text.substr(0, option_end) + " needs a value";
    }
    if (option_end != std::string::npos && text.contains("At Most 1 required")) {
        return text.substr(0, option_end) + " is given more than once";
    }
    return text;
}

OptionText describe(const CLI::Option& option) {
    OptionText text;
    text.is_word = option.get_positional();
    if (text.is_word) {
        text.names.push_back(option.get_name(true));
    }
    for (const auto& name : option.get_snames()) {
        text.names.push_back("-" + name);
    }
    for (const auto& name : option.get_lnames()) {
        text.names.push_back("--" + name);
    }
    text.value = !text.is_word && option.get_items_expected_max() > 0 ? option.get_type_name() : "";
    text.what = option.get_description();
    text.repeats = option.get_items_expected_max() > 1;
    text.required = option.get_required();
    return text;
}

CommandText describe(const CLI::App& app, const std::string& above) {
    CommandText text{.path = above + app.get_name(),
                     .name = app.get_name(),
                     .aliases = app.get_aliases(),
                     .what = app.get_description(),
                     .usage = usage_of(app),
                     .end = app.get_footer(),
                     .options = {},
                     .commands = {}};
    for (const auto* option : app.get_options()) {
        text.options.push_back(describe(*option));
    }
    for (const auto* command : app.get_subcommands(std::function<bool(const CLI::App*)>())) {
        text.commands.push_back(describe(*command, text.path + " "));
    }
    return text;
}

} // namespace

CommandText command_tree() {
    return describe(Grammar().app(), "");
}

std::expected<CommandLine, UsageError> parse_command_line(std::span<const std::string> arguments,
                                                          std::string_view socket_from_environment) {
    if (!arguments.empty() && arguments.front() == kCompleteWord) {
        const auto words = arguments.subspan(1);
        return CommandLine{.socket = std::string(socket_from_environment.empty() ? kDefaultSocket : socket_from_environment),
                           .command = Complete{{words.begin(), words.end()}}};
    }
    Grammar grammar;
    UsageError failure;
    try {
        return grammar.parse(arguments, socket_from_environment);
    } catch (const CLI::ParseError& problem) {
        failure.error = invalid(as_sentence(problem.what()), "usage: " + grammar.usage());
    } catch (Refused& refused) {
        failure.error = std::move(refused.error);
    }
    failure.format = format_wanted(arguments);
    failure.exit_status = grammar.usage().starts_with("rnx run ") ? kExitRunFailed : kExitUsage;
    return std::unexpected(std::move(failure));
}

} // namespace joblet::cli
