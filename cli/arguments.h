// What the user typed, as data. Pure: no file, socket or environment is touched.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shared/error.h"

namespace joblet::cli {

// Exit statuses of rnx itself. Whatever `run` cannot do is 125, so that it is not taken for the job's own status.
inline constexpr int kExitRefused = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitRunFailed = 125;

inline constexpr std::string_view kDefaultSocket = "/run/joblet/api.sock";

enum class Format : std::uint8_t { Table, Json, Yaml };

// Whose volumes a command is about. Anything but Own is for uid 0 and the admins in broker.toml.
struct Scope {
    enum class Kind : std::uint8_t { Own, User, Everybody };
    Kind kind = Kind::Own;
    std::uint32_t uid = 0; // User
};

enum class VolumeKind : std::uint8_t { Filesystem, Memory };

struct VolumeCreate {
    std::string name; // fits the grammar of names
    std::uint64_t size_bytes = 0;
    VolumeKind kind = VolumeKind::Filesystem;
};
struct VolumeList {
    Scope scope;
};
struct VolumeInspect {
    std::vector<std::string> names; // at least one, each fits the grammar of names
    Scope scope;
};
struct VolumeRemove {
    std::vector<std::string> names; // as above
    Scope scope;
};
struct RunVolume {
    std::string name;
    std::string target; // empty: only at /volumes/<name>; otherwise a valid target that is not reserved
    bool read_only = false;
};
struct Run {
    std::vector<RunVolume> volumes;   // none twice, no two targets overlap
    std::vector<std::string> command; // at least one word
};
struct Version {};
// Asked for with --help or --version: to be printed on stdout, and nothing else done.
struct ShowText {
    std::string text;
};

struct CommandLine {
    Format format = Format::Table;
    std::string socket; // path of the API's socket
    std::variant<VolumeCreate, VolumeList, VolumeInspect, VolumeRemove, Run, Version, ShowText> command;
};

struct UsageError {
    Error error; // code InvalidArgument; the hint gives the accepted forms
    Format format = Format::Table;
    int exit_status = kExitUsage;
};

// `arguments` without the program's name; `socket_from_environment`: JOBLET_SOCKET, empty if it is not set.
std::expected<CommandLine, UsageError> parse_command_line(std::span<const std::string> arguments, std::string_view socket_from_environment);

// "NAME[:/PATH][:ro]". An error is one sentence and the accepted forms.
std::expected<RunVolume, Error> parse_run_volume(std::string_view text);

} // namespace joblet::cli
