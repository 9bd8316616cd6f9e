// What the user typed, as data. Pure: no file, socket or environment is touched.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
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

// Any is for filters; a volume is always made as one of the others.
enum class VolumeKind : std::uint8_t { Any, Filesystem, Memory };
enum class VolumeBackend : std::uint8_t { Auto, Image, Tmpfs, ProjectQuota, Btrfs };
enum class VolumeState : std::uint8_t { Any, Available, InUse, Trashed, Quarantined }; // Any: all but Trashed
enum class VolumeOrder : std::uint8_t { Name, Created, Size, LastUsed };

using Label = std::pair<std::string, std::string>; // the key fits the grammar of keys

struct LabelFilter {
    std::string key;
    std::optional<std::string> value; // nullopt: any
};

// Wherever a name or `names` of volumes or jobs stand below, each fits the grammar of names, which ids fit too, and there is at
// least one.
struct VolumeCreate {
    std::string name;
    std::uint64_t size_bytes = 0;
    VolumeKind kind = VolumeKind::Filesystem;
    VolumeBackend backend = VolumeBackend::Auto; // one that can hold that kind
    std::uint64_t inodes = 0;                    // 0: the backend's default
    std::vector<Label> labels;                   // no key twice
};
struct VolumeList {
    std::vector<LabelFilter> labels; // all must hold
    VolumeKind kind = VolumeKind::Any;
    VolumeState state = VolumeState::Any;
    Scope scope;
    VolumeOrder order = VolumeOrder::Name;
    bool descending = false;
    bool quiet = false;
};
struct VolumeInspect {
    std::vector<std::string> names;
    Scope scope;
};
struct VolumeLabel {
    std::string name;
    std::vector<Label> set;          // no key twice, nor in both; one of the two is not empty
    std::vector<std::string> remove; // keys
};
struct VolumeRename {
    std::string name;
    std::string new_name;
};
struct VolumeRemove {
    std::vector<std::string> names;
    Scope scope;
    bool force = false; // detach from running jobs
    bool now = false;   // not into the trash
};
struct VolumeRestore {
    std::string name;
    std::string new_name; // empty: the one it had
};
struct VolumeProtect {
    std::vector<std::string> names;
    Scope scope;
    bool is_protected = true; // what it shall be afterwards
};
struct VolumeAttach {
    std::string name;
    std::string job;
    bool read_only = false;
};
struct VolumeDetach {
    std::string name;
    std::string job;
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

using Command = std::variant<VolumeCreate, VolumeList, VolumeInspect, VolumeLabel, VolumeRename, VolumeRemove, VolumeRestore, VolumeProtect,
                             VolumeAttach, VolumeDetach, Run, Version, ShowText>;

struct CommandLine {
    Format format = Format::Table;
    std::string socket; // path of the API's socket
    Command command;
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
