#include "cli/arguments_run.h"

#include <string>
#include <utility>

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

} // namespace

RunGrammar::RunGrammar(CLI::App& rnx, CommonOptions& options)
    : run_(rnx.add_subcommand("run", "run a command as a job; it has your stdin, stdout and stderr")) {
    set_up(*run_, options, "rnx run [--volume NAME[:/PATH][:ro]]… [--] COMMAND ARGS…",
           "The first word that is no option is the COMMAND; what follows is never an option of rnx.\n"
           "Exit status: the command's own; 128 + n if signal n ended it; 125 if rnx or the daemon failed;\n"
           "126 if the command could not be executed; 127 if it was not found.\n"
           "\n"
           "Examples:\n"
           "  rnx run --volume data -- sh -c 'date >>/volumes/data/log'\n"
           "  rnx run -v data:/data:ro -v cache sort -u /data/names");
    run_->add_option("-v,--volume", volumes_, "a volume to have at /volumes/NAME, and at /PATH; ro: read-only")
        ->type_name("VOLUME")
        ->allow_extra_args(false);
}

Run RunGrammar::take(std::span<const std::string> command) const {
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
        throw Refused{invalid("the COMMAND to run is missing", "usage: " + usage_of(*run_))};
    }
    run.command.assign(command.begin(), command.end());
    return run;
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
