// What the user typed, as data. Pure: no file, socket or environment is touched.
#pragma once

#include <chrono>
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
#include "shared/protocol_types.h"

namespace joblet::cli {

// Exit statuses of rnx itself. Whatever `run` cannot do is 125, so that it is not taken for the job's own status.
inline constexpr int kExitRefused = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitRunFailed = 125;

inline constexpr std::string_view kDefaultSocket = "/run/joblet/api.sock";

// The first word of what a completion script runs.
inline constexpr std::string_view kCompleteWord = "__complete";

enum class Format : std::uint8_t { Table, Json, Yaml };

// Whose volumes or jobs a command is about. Anything but Own is for uid 0 and the admins in broker.toml.
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
// least one, unless it says so.
struct VolumeCreate {
    std::string name;
    std::uint64_t size_bytes = 0;
    VolumeKind kind = VolumeKind::Filesystem;
    VolumeBackend backend = VolumeBackend::Auto; // one that can hold that kind
    std::uint64_t inodes = 0;                    // 0: the backend's default
    std::uint64_t soft_size_bytes = 0;           // 0: none; otherwise below the hard one, and not of every kind and backend
    std::uint64_t soft_inodes = 0;               // likewise, if `inodes` is given
    protocol::IoLimits io;                       // 0: none; not of memory
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
inline constexpr std::uint64_t kNoSoftLimit = ~std::uint64_t{0}; // as the schema says it of resizeVolume
struct VolumeResize {
    std::string name;
    std::uint64_t size_bytes = 0; // 0 in each: as it is; one at least is not
    std::uint64_t inodes = 0;
    std::uint64_t soft_size_bytes = 0; // kNoSoftLimit: from now on there is none
    std::uint64_t soft_inodes = 0;
};
struct VolumeUsage {
    std::vector<std::string> names; // empty: all in scope
    Scope scope;
};
struct VolumeRemove {
    std::vector<std::string> names;
    Scope scope;
    bool force = false; // detach from running jobs
    bool now = false;   // not into the trash
    bool wait = false;  // with `now`: until its contents are gone
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
struct Variable {
    std::string name;                 // not empty, without '='
    std::optional<std::string> value; // nullopt: as the caller has it
};
// Each is held by the kernel or the run is refused; 0: as configured, and of `io` as the volumes have it.
struct JobLimits {
    std::uint64_t memory_bytes = 0;
    std::uint64_t swap_bytes = 0; // besides memory
    std::uint64_t processes = 0;
    std::uint64_t cpu_milli = 0; // thousandths of one CPU
    protocol::IoLimits io;

    bool operator==(const JobLimits&) const = default;
};
struct Run {
    std::vector<RunVolume> volumes;             // none twice, no two targets overlap
    std::vector<std::string> environment_files; // paths; what they set comes before `environment`
    std::vector<Variable> environment;
    std::vector<std::string> command; // at least one word
    std::string name;                 // empty: none
    std::string base;                 // empty: the daemon's default
    std::string host_name;            // empty: made of the job's id
    std::string working_directory;    // empty: /work
    std::uint32_t user = 0;           // inside the job
    std::uint32_t group = 0;
    std::chrono::seconds timeout{0}; // 0: none
    std::uint64_t work_bytes = 0;    // 0: as configured; so are the next two
    std::uint64_t tmp_bytes = 0;
    std::uint64_t log_bytes = 0; // only if detached
    JobLimits limits;
    bool terminal = false; // a terminal of the job's own; not if detached
    bool detached = false;
    bool remove_afterwards = false; // only if detached
    bool host_network = false;
    bool read_only_work = false;
    bool dry_run = false;
};
enum class JobStateFilter : std::uint8_t { Any, Starting, Running, Ended };
struct JobList {
    JobStateFilter state = JobStateFilter::Any;
    Scope scope;
    bool quiet = false;
};
struct JobInspect {
    std::vector<std::string> names;
    Scope scope;
};
struct JobLogs {
    std::string name;
    Scope scope;
    bool follow = false;
    bool timestamps = false;
    bool with_stdout = true; // one of the two at least
    bool with_stderr = true;
    std::optional<std::uint64_t> tail; // so many lines from the end; nullopt: all
};
struct JobStop {
    std::vector<std::string> names;
    Scope scope;
    std::optional<std::chrono::seconds> grace; // nullopt: ten seconds
};
struct JobKill {
    std::vector<std::string> names;
    Scope scope;
    std::uint32_t signal = 0; // 1 … 31
};
struct JobWait {
    std::vector<std::string> names;
    Scope scope;
};
struct JobRemove {
    std::vector<std::string> names;
    Scope scope;
    bool force = false; // stop it first
};
struct JobPrune {
    Scope scope;
};
struct BaseListing {};
struct Doctor {};
struct AuditVerify {
    std::vector<std::string> files; // empty: this host's
    std::string public_key;         // a file; empty: the one beside the log
};
struct AuditList {
    std::vector<std::string> files; // empty: this host's
    std::string volume;             // beginning of an id; empty: any
    std::string job;                // likewise
    std::optional<std::uint32_t> uid;
    std::string since; // beginning of a time as records have it; empty: any
};
struct Completion {
    enum class Shell : std::uint8_t { Bash, Zsh, Fish };
    Shell shell = Shell::Bash;
};
// What a shell's completion asks: never typed by people.
struct Complete {
    std::vector<std::string> words; // after "rnx"; the last is the one to complete
};
struct Version {};
// Asked for with --help or --version: to be printed on stdout, and nothing else done.
struct ShowText {
    std::string text;
};

using Command =
    std::variant<VolumeCreate, VolumeList, VolumeInspect, VolumeLabel, VolumeRename, VolumeResize, VolumeUsage, VolumeRemove, VolumeRestore,
                 VolumeProtect, VolumeAttach, VolumeDetach, Run, JobList, JobInspect, JobLogs, JobStop, JobKill, JobWait, JobRemove,
                 JobPrune, BaseListing, Doctor, AuditVerify, AuditList, Completion, Complete, Version, ShowText>;

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
