#include "cli/arguments.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <utility>

#include <CLI/CLI.hpp>

#include "shared/name.h"
#include "shared/protocol.h"
#include "shared/size.h"

namespace joblet::cli {
namespace {

constexpr std::string_view kRunVolumeForms = "NAME, NAME:/PATH, NAME:ro or NAME:/PATH:ro";

Error invalid(std::string message, std::string hint) {
    return {ErrorCode::InvalidArgument, std::move(message), std::move(hint)};
}

std::string in_quotes(std::string_view text) {
    return '"' + std::string(text) + '"';
}

// Thrown inside this file only: CLI11 reports by exception, so what it lets through is refused in the same way.
struct Refused {
    Error error;
};

void check_name(std::string_view name) {
    if (!is_valid_name(name)) {
        throw Refused{invalid("the volume name " + in_quotes(name) + " is not valid", "a name has " + std::string(kNameForms))};
    }
}

// Shows our own line of usage; CLI11's cannot say where options end.
class UsageFormatter : public CLI::Formatter {
  public:
    explicit UsageFormatter(std::string usage) : usage_(std::move(usage)) {}
    std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
        return "Usage: " + usage_ + "\n";
    }
    [[nodiscard]] const std::string& usage() const {
        return usage_;
    }

  private:
    std::string usage_;
};

// The texts as typed, and the grammar they are typed in.
class Grammar {
  public:
    Grammar() : app_("Volumes for jobs, with limits that the kernel holds.", "rnx") {
        set_up(app_, "rnx [--socket PATH] volume|run|version …");
        app_.add_flag("--version", version_flag_, "show the version of rnx and exit");
        app_.require_subcommand(0, 1);

        volume_ = app_.add_subcommand("volume", "make, show and remove volumes");
        set_up(*volume_, "rnx volume create|list|inspect|remove …");
        volume_->require_subcommand(1);

        create_ = volume_->add_subcommand("create", "make a volume; asking again for the same one is no error");
        set_up(*create_, "rnx volume create NAME --size=SIZE [--type=filesystem|memory]");
        create_->add_option("NAME", name_, std::string(kNameForms))->type_name("")->required();
        create_->add_option("--size", size_, "usable space: " + std::string(kSizeForms))->type_name("SIZE")->required();
        create_->add_option("--type", type_, "filesystem: stays until removed (default); memory: gone when its job ends")
            ->type_name("TYPE");

        list_ = volume_->add_subcommand("list", "show your volumes");
        list_->alias("ls");
        set_up(*list_, "rnx volume list [--format=table|json|yaml]");
        add_scope(*list_);

        inspect_ = volume_->add_subcommand("inspect", "show everything about volumes");
        set_up(*inspect_, "rnx volume inspect NAME…");
        inspect_->add_option("NAME", names_, "names or ids of volumes")->type_name("")->required();
        add_scope(*inspect_);

        remove_ = volume_->add_subcommand("remove", "remove volumes and what is in them");
        remove_->alias("rm");
        set_up(*remove_, "rnx volume remove NAME…");
        remove_->add_option("NAME", names_, "names or ids of volumes")->type_name("")->required();
        add_scope(*remove_);

        run_ = app_.add_subcommand("run", "run a command as a job; it has your stdin, stdout and stderr");
        set_up(*run_, "rnx run [--volume NAME[:/PATH][:ro]]… [--] COMMAND ARGS…");
        run_->footer("The first word that is no option is the COMMAND; what follows is never an option of rnx.\n"
                     "Exit status: the command's own; 128 + n if signal n ended it; 125 if rnx or the daemon failed;\n"
                     "126 if the command could not be executed; 127 if it was not found.");
        run_->add_option("-v,--volume", volumes_, "a volume to have at /volumes/NAME, and at /PATH; ro: read-only")
            ->type_name("VOLUME")
            ->allow_extra_args(false);

        version_ = app_.add_subcommand("version", "show the versions of rnx and of the daemon");
        set_up(*version_, "rnx version [--format=table|json|yaml]");
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
        line.format = parse_format(format_);
        line.socket = !socket_.empty() ? socket_ : !socket_from_environment.empty() ? std::string(socket_from_environment) : kDefaultSocket;
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
        return static_cast<const UsageFormatter&>(*deepest->get_formatter()).usage();
    }

  private:
    void set_up(CLI::App& command, std::string usage) {
        command.formatter(std::make_shared<UsageFormatter>(std::move(usage)));
        command.set_help_flag("-h,--help", "show this help and exit");
        command.add_option("--socket", socket_, "socket of the daemon (default: $JOBLET_SOCKET or " + std::string(kDefaultSocket) + ")")
            ->type_name("PATH");
        command.add_option("--format", format_, "table (default), json or yaml")->type_name("FORMAT");
    }

    void add_scope(CLI::App& command) {
        auto* all = command.add_flag("--all", all_, "volumes of all users (root and admins only)");
        command.add_option("--user", user_, "volumes of the user with this uid (root and admins only)")->type_name("UID")->excludes(all);
    }

    // True if the option takes its value from the next word.
    static bool takes_next_word(const CLI::App& command, std::string_view word) {
        if (word.starts_with("--")) {
            if (word.contains('=')) {
                return false;
            }
        } else if (word.size() > 2) {
            return false; // -vNAME
        }
        const auto* option = command.get_option_no_throw(std::string(word));
        return option != nullptr && option->get_items_expected_max() > 0;
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
        if (command == words.size() || words[command] != run_->get_name()) {
            return words.size();
        }
        return first_plain_word(*run_, words, command + 1);
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

    decltype(CommandLine::command) take_command(std::span<const std::string> command) {
        if (version_flag_) {
            return ShowText{"rnx " JOBLET_VERSION "\n"};
        }
        if (app_.got_subcommand(run_)) {
            return take_run(command);
        }
        if (app_.got_subcommand(version_)) {
            return Version{};
        }
        if (!app_.got_subcommand(volume_)) {
            throw Refused{invalid("a command is missing", "commands are volume, run and version; see rnx --help")};
        }
        if (volume_->got_subcommand(create_)) {
            return take_create();
        }
        if (volume_->got_subcommand(list_)) {
            return VolumeList{take_scope()};
        }
        std::ranges::for_each(names_, check_name);
        if (volume_->got_subcommand(inspect_)) {
            return VolumeInspect{names_, take_scope()};
        }
        return VolumeRemove{names_, take_scope()};
    }

    VolumeCreate take_create() {
        check_name(name_);
        const auto size = parse_size(size_);
        if (!size) {
            throw Refused{invalid("the size " + in_quotes(size_) + " is not valid: " + std::string(describe(size.error())),
                                  "a size is " + std::string(kSizeForms))};
        }
        VolumeCreate create{name_, *size, VolumeKind::Filesystem};
        if (type_ == "memory") {
            create.kind = VolumeKind::Memory;
        } else if (type_ != "filesystem") {
            throw Refused{invalid("the volume type " + in_quotes(type_) + " is unknown", "types are filesystem and memory")};
        }
        return create;
    }

    Run take_run(std::span<const std::string> command) {
        Run run;
        for (const auto& text : volumes_) {
            auto volume = parse_run_volume(text);
            if (!volume) {
                throw Refused{volume.error()};
            }
            check_against(run.volumes, *volume);
            run.volumes.push_back(std::move(*volume));
        }
        if (run.volumes.size() > protocol::kJobVolumesMax) {
            throw Refused{invalid(std::to_string(run.volumes.size()) + " volumes are too many for one job",
                                  "a job can have " + std::to_string(protocol::kJobVolumesMax))};
        }
        if (command.empty()) {
            throw Refused{invalid("the COMMAND to run is missing", "usage: " + usage())};
        }
        run.command.assign(command.begin(), command.end());
        return run;
    }

    static void check_against(const std::vector<RunVolume>& others, const RunVolume& volume) {
        for (const auto& other : others) {
            if (other.name == volume.name) {
                throw Refused{invalid("the volume " + in_quotes(volume.name) + " is given twice", "give each volume once")};
            }
            if (!other.target.empty() && !volume.target.empty() && targets_overlap(other.target, volume.target)) {
                throw Refused{invalid("the targets " + in_quotes(other.target) + " and " + in_quotes(volume.target) + " overlap",
                                      "no target may be, or lie below, another one")};
            }
        }
    }

    Scope take_scope() const {
        if (all_) {
            return {Scope::Kind::Everybody, 0};
        }
        if (user_.empty()) {
            return {};
        }
        Scope scope{Scope::Kind::User, 0};
        const auto [end, problem] = std::from_chars(user_.data(), user_.data() + user_.size(), scope.uid);
        if (problem != std::errc{} || end != user_.data() + user_.size()) {
            throw Refused{invalid("the user " + in_quotes(user_) + " is not a uid", "a uid is a whole number, for example 1000")};
        }
        return scope;
    }

    CLI::App app_;
    CLI::App* volume_ = nullptr;
    CLI::App* create_ = nullptr;
    CLI::App* list_ = nullptr;
    CLI::App* inspect_ = nullptr;
    CLI::App* remove_ = nullptr;
    CLI::App* run_ = nullptr;
    CLI::App* version_ = nullptr;

    bool version_flag_ = false;
    bool all_ = false;
    std::string socket_;
    std::string format_ = "table";
    std::string name_;
    std::string size_;
    std::string type_ = "filesystem";
    std::string user_;
    std::vector<std::string> names_;
    std::vector<std::string> volumes_;
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

} // namespace

std::expected<RunVolume, Error> parse_run_volume(std::string_view text) {
    const auto refuse = [text](std::string why, std::string hint) {
        return std::unexpected(invalid("the volume " + in_quotes(text) + " is not valid: " + std::move(why), std::move(hint)));
    };
    RunVolume volume;
    const auto name_end = text.find(':');
    volume.name = text.substr(0, name_end);
    if (!is_valid_name(volume.name)) {
        return refuse(in_quotes(volume.name) + " is no volume name",
                      "write " + std::string(kRunVolumeForms) + "; a name has " + std::string(kNameForms));
    }
    auto rest = name_end == std::string_view::npos ? std::string_view{} : text.substr(name_end);
    if (rest == ":ro" || rest.ends_with(":ro")) {
        volume.read_only = true;
        rest.remove_suffix(3);
    }
    if (rest.empty()) {
        return volume;
    }
    rest.remove_prefix(1);
    if (!rest.starts_with('/')) {
        return refuse(in_quotes(rest) + " is neither a path nor ro", "write " + std::string(kRunVolumeForms));
    }
    // A target could have a colon in it, but then a mistyped option would become part of a path.
    if (const auto colon = rest.find(':'); colon != std::string_view::npos) {
        return refuse(in_quotes(rest.substr(colon + 1)) + " is not ro", "write " + std::string(kRunVolumeForms));
    }
    if (!is_valid_target(rest)) {
        return refuse(in_quotes(rest) + " is no valid target", "a target is " + std::string(kTargetForms));
    }
    if (const auto reserved = reserved_by(rest)) {
        return refuse(in_quotes(rest) + " lies in " + std::string(*reserved) + ", which every job has already",
                      "choose another target, for example /data; the volume is at /volumes/" + volume.name + " in any case");
    }
    volume.target = rest;
    return volume;
}

std::expected<CommandLine, UsageError> parse_command_line(std::span<const std::string> arguments,
                                                          std::string_view socket_from_environment) {
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
