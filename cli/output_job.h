// How jobs, their worlds and the bases are shown. Pure; every text ends with a newline.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "shared/protocol_types.h"

namespace joblet::cli {

struct ExitView {
    std::optional<unsigned> code;   // exited
    std::optional<unsigned> signal; // ended by a signal
    unsigned status = 0;            // as a shell sees it
    std::string reason;
    std::int64_t ended_ns = 0;
};

struct JobVolumeView {
    std::string volume; // id
    std::string name;   // empty: it is gone
    std::string target; // empty: only at /volumes/<name>
    bool read_only = false;
};

// What the kernel holds a job to; 0: no such limit.
struct LimitsView {
    std::uint64_t memory_bytes = 0;
    std::uint64_t swap_bytes = 0; // if `controllers` has "memory", 0 is none at all
    std::uint64_t processes = 0;
    std::uint64_t cpu_milli = 0; // thousandths of one CPU
    protocol::IoLimits io;
    std::vector<std::string> devices;     // that `io` is for: "8:0"
    std::vector<std::string> controllers; // that hold any of this: "cpu", "io", "memory", "pids"
};

struct JobView {
    std::string id;
    std::string name; // empty: none
    std::uint32_t owner = 0;
    std::string state; // "starting", "running", "ended"
    std::int64_t started_ns = 0;
    std::optional<ExitView> exit; // ended
    std::vector<std::string> command;
    std::string base;
    std::vector<JobVolumeView> volumes;
    std::string host_name;
    std::optional<LimitsView> limits; // nullopt: the daemon does not tell
};

// As for volumes; `owners`: whether they are shown.
std::string render_job_list(std::span<const JobView> jobs, Format format, bool owners, std::optional<unsigned> width);
std::string render_job(const JobView& job, Format format);
std::string render_jobs(std::span<const JobView> jobs, Format format);

// Exit statuses as `job wait` found them: one per line, or a list.
std::string render_statuses(std::span<const unsigned> statuses, Format format);

struct MountView {
    std::string path;
    std::string kind;             // "base", "volume", "memory", …
    std::uint64_t size_bytes = 0; // 0: not limited by itself
    bool read_only = false;
    std::string volume; // its name; empty: it is none
};

struct WorldView {
    std::vector<MountView> mounts;
    std::uint32_t uid_first = 0; // of the host
    std::uint32_t uid_count = 0;
    std::uint32_t user = 0; // inside
    std::uint32_t group = 0;
    std::string host_name; // empty: made of the job's id
    std::string working_directory;
    std::vector<std::string> environment;
    std::vector<std::string> command;
    bool host_network = false;
    std::uint64_t timeout_ns = 0;    // 0: none
    std::uint64_t log_max_bytes = 0; // 0: no log
    std::string base;
    std::optional<LimitsView> limits; // nullopt: the daemon does not tell
};
std::string render_world(const WorldView& world, Format format);

struct BaseView {
    std::string name;
    std::string proc; // "pids", "masked"
    bool usable = false;
};
std::string render_bases(std::span<const BaseView> bases, Format format, std::optional<unsigned> width);

// Words as one would type them in a shell.
std::string shell_words(std::span<const std::string> words);

} // namespace joblet::cli
