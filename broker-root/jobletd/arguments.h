// The command line of jobletd.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace joblet::jobletd {

enum class Action : std::uint8_t { Run, KeepJobsCgroup, PrintBrokerConfig, PrintApiConfig, ShowVersion, ShowHelp };

struct Arguments {
    Action action = Action::Run;
    std::string root;                     // "" or an absolute path without "." , ".." and trailing slash
    std::optional<std::uint32_t> api_uid; // --api-uid; never 0, nor a uid that jobs or volumes have
    bool enable_controllers = false;
    std::string jobs_cgroup; // --jobs-cgroup, as cgroup_places.h says; "": jobletd makes a tree of its own
};

inline constexpr std::string_view kUsage =
    "usage: jobletd [--root DIR] [--api-uid N] [--enable-controllers | --jobs-cgroup GROUP]\n"
    "       jobletd --keep-jobs-cgroup\n"
    "       jobletd [--root DIR] --print-config broker|api\n"
    "       jobletd --version | --help\n"
    "\n"
    "Starts joblet storage and keeps it running. Must be started by root.\n"
    "\n"
    "  --root DIR            a whole installation below DIR, its socket at DIR/run/joblet/api.sock\n"
    "  --api-uid N           run joblet-api as this uid and gid instead of as the user 'joblet'\n"
    "  --enable-controllers  let the top of cgroup2 hand on its controllers cpu, io, memory and pids where it does\n"
    "                        not yet; without them jobs cannot be limited in these. Concerns every group on this\n"
    "                        machine, and is not undone at the end\n"
    "  --jobs-cgroup GROUP   for service managers: jobs live in this group of cgroup2, which --keep-jobs-cgroup has\n"
    "                        made, and the daemons in jobletd's own; such as joblet.slice/joblet-jobs.service/jobs\n"
    "  --keep-jobs-cgroup    for service managers: start nothing, but make the group 'jobs' in the one that this\n"
    "                        process was started in, and keep it until told to end\n"
    "  --print-config        the configuration with every key explained, then exit\n";

// `words` without the program's name; `directory`: what a relative DIR is relative to. Pure. An error is a sentence.
std::expected<Arguments, std::string> parse_arguments(std::span<const char* const> words, std::string_view directory);

} // namespace joblet::jobletd
