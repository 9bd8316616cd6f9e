#include "cli/arguments_run.h"

#include <array>
#include <chrono>
#include <string>
#include <tuple>
#include <utility>

#include "shared/duration.h"
#include "shared/name.h"
#include "shared/protocol.h"

namespace joblet::cli {
namespace {

constexpr std::string_view kRunVolumeForms = "NAME, NAME:/PATH, NAME:ro or NAME:/PATH:ro";

void check_against(const std::vector<RunVolume>& others, const RunVolume& volume) {
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

constexpr std::array kNetworks = {Word{"none", false}, Word{"host", true}};

Variable take_variable(std::string_view text) {
    const auto equals = text.find('=');
    Variable variable{.name = std::string(text.substr(0, equals)), .value = std::nullopt};
    if (variable.name.empty()) {
        throw Refused{invalid("the variable " + in_quotes(text) + " has no name", "write KEY=VALUE, or KEY for the value that you have")};
    }
    if (equals != std::string_view::npos) {
        variable.value = text.substr(equals + 1);
    }
    return variable;
}

// "UID" or "UID:GID"
std::pair<std::uint32_t, std::uint32_t> take_user(std::string_view text) {
    const auto colon = text.find(':');
    const auto user = parse_number<std::uint32_t>(text.substr(0, colon));
    const auto group = colon == std::string_view::npos ? user : parse_number<std::uint32_t>(text.substr(colon + 1));
    if (!user || !group || *user > protocol::kInnerIdMax || *group > protocol::kInnerIdMax) {
        throw Refused{invalid("the user " + in_quotes(text) + " is not valid",
                              "write UID or UID:GID, whole numbers of at most " + std::to_string(protocol::kInnerIdMax))};
    }
    return {*user, *group};
}

std::chrono::seconds take_timeout(std::string_view text) {
    constexpr std::chrono::nanoseconds kMost(protocol::kTimeoutMax);
    const auto timeout = parse_duration(text);
    if (!timeout || timeout->count() == 0 || *timeout > kMost) {
        throw Refused{invalid("the timeout " + in_quotes(text) + " is not valid",
                              "it is a whole number with a unit: 90s, 10m, 2h, 7d, at most 366d; leave --timeout out for none")};
    }
    return *timeout;
}

std::uint64_t take_room(std::string_view what, std::string_view text, std::uint64_t least) {
    return take_size_within(what, text, least, protocol::kVolumeSizeMax);
}

} // namespace

RunGrammar::RunGrammar(CLI::App& rnx, CommonOptions& options)
    : run_(rnx.add_subcommand("run", "run a command as a job; it has your stdin, stdout and stderr")) {
    set_up(*run_, options, "rnx run [-t] [-d] [--volume NAME[:/PATH][:ro]]… [OPTION]… [--] COMMAND ARGS…",
           "The first word that is no option is the COMMAND; what follows is never an option of rnx.\n"
           "Exit status: the command's own; 128 + n if signal n ended it; 125 if rnx or the daemon failed;\n"
           "126 if the command could not be executed; 127 if it was not found.\n"
           "Every limit is held by the kernel, or the run is refused; --dry-run shows them.\n"
           "\n"
           "Examples:\n"
           "  rnx run --volume data -- sh -c 'date >>/volumes/data/log'\n"
           "  rnx run -v data:/data:ro -v cache sort -u /data/names\n"
           "  rnx run -it sh\n"
           "  rnx run -d --name train --timeout 2h -e EPOCHS=10 -v data sh /volumes/data/train.sh\n"
           "  rnx run --memory 512MB --pids 100 --cpus 1.5 --write-bps 10MB -v data sh /volumes/data/build.sh\n"
           "  rnx run --dry-run --network host -v data sh");
    add_value(*run_, "-v,--volume", volumes_, "VOLUME",
              "a volume to have at /volumes/NAME, and at /PATH; ro: read-only; again for another one");
    add_ways();
    add_process();
    add_world();
    limits_.add_to(*run_);
}

void RunGrammar::add_ways() {
    run_->add_flag("-t,--terminal,--tty", terminal_, "give the job a terminal of its own, connected to yours");
    run_->add_flag("-i,--interactive", interactive_, "changes nothing: a job in the foreground always has your stdin");
    run_->add_flag("-d,--detach", detached_, "print the job's id and leave it running; its output goes to its log (rnx job logs)");
    run_->add_flag("--rm", remove_, "with -d: forget the job and its log when it ends");
    add_value(*run_, "--log-max", log_size_, "SIZE", "with -d: the log keeps at most this, the newest");
    add_value(*run_, "--name", name_, "NAME", "a name for the job that none of your others has");
    run_->add_flag("--dry-run", dry_run_, "show what the job would have, and start nothing");
}

void RunGrammar::add_process() {
    add_value(*run_, "-e,--env", variables_, "KEY[=VALUE]", "set a variable; without a value, to yours; again for another one");
    add_value(*run_, "--env-file", environment_files_, "FILE",
              "set those of a file, one KEY=VALUE in a line, comments begin with #; -e comes after");
    add_value(*run_, "-w,--workdir", working_directory_, "PATH", "where the command starts (default: /work)");
    add_value(*run_, "-u,--user", user_, "UID[:GID]",
              "who it is inside the job, 0 to 65535 (default: 0; GID: as UID); no one has power outside");
    add_value(*run_, "--timeout", timeout_, "TIME",
              "end the job after this time, with SIGTERM and ten seconds later SIGKILL: 90s, 10m, 2h");
}

void RunGrammar::add_world() {
    add_value(*run_, "--base", base_, "NAME", "the root file system it sees, see rnx base list (default: minimal)");
    add_value(*run_, "--hostname", host_name_, "NAME", "its host name (default: the first digits of its id)");
    add_value(*run_, "--network", network_, "NETWORK", "none: loopback only (default); host: this host's, where root allows it");
    run_->add_flag("--read-only-work", read_only_work_, "nothing can be written to /work");
    add_value(*run_, "--work-size", work_size_, "SIZE", "of /work, which is in memory");
    add_value(*run_, "--tmp-size", tmp_size_, "SIZE", "of /tmp, which is in memory");
}

Run RunGrammar::take(std::span<const std::string> command) const {
    check_ways();
    Run run;
    take_volumes(run);
    take_process(run);
    take_world(run);
    run.limits = limits_.take();
    if (command.empty()) {
        throw Refused{invalid("the COMMAND to run is missing", "usage: " + usage_of(*run_))};
    }
    run.command.assign(command.begin(), command.end());
    return run;
}

void RunGrammar::check_ways() const {
    if (detached_ && terminal_) {
        throw Refused{invalid("a detached job cannot have a terminal", "give one of -d and -t")};
    }
    if (detached_ && interactive_) {
        throw Refused{invalid("a detached job has no stdin of yours", "give one of -d and -i")};
    }
    if (remove_ && !detached_) {
        throw Refused{invalid("--rm is for detached jobs", "add -d, or leave --rm out")};
    }
    if (!log_size_.empty() && !detached_) {
        throw Refused{invalid("--log-max is for detached jobs: others have no log", "add -d, or leave --log-max out")};
    }
}

void RunGrammar::take_volumes(Run& run) const {
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
}

void RunGrammar::take_process(Run& run) const {
    run.terminal = terminal_;
    run.detached = detached_;
    run.remove_afterwards = remove_;
    run.dry_run = dry_run_;
    run.environment_files = environment_files_;
    for (const auto& text : variables_) {
        run.environment.push_back(take_variable(text));
    }
    if (!working_directory_.empty() && !working_directory_.starts_with('/')) {
        throw Refused{invalid("the directory " + in_quotes(working_directory_) + " is not absolute", "write a path that begins with /")};
    }
    run.working_directory = working_directory_;
    if (!user_.empty()) {
        std::tie(run.user, run.group) = take_user(user_);
    }
    if (!timeout_.empty()) {
        run.timeout = take_timeout(timeout_);
    }
}

void RunGrammar::take_world(Run& run) const {
    const auto name_or_none = [](std::string_view what, const std::string& name) {
        if (!name.empty()) {
            check_name(what, name);
        }
        return name;
    };
    run.name = name_or_none("job", name_);
    run.base = name_or_none("base", base_);
    run.host_name = name_or_none("host", host_name_);
    run.host_network = choose(kNetworks, network_, "network", "networks", false);
    run.read_only_work = read_only_work_;
    run.work_bytes = take_room("size of /work", work_size_, protocol::kScratchMin);
    run.tmp_bytes = take_room("size of /tmp", tmp_size_, protocol::kScratchMin);
    run.log_bytes = take_room("size of the log", log_size_, protocol::kLogMin);
}

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

} // namespace joblet::cli
