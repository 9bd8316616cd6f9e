// How things are shown: a table for people, JSON and YAML for programs. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/arguments.h"
#include "shared/error.h"
#include "shared/protocol_types.h"

namespace joblet::cli {

struct VolumeView {
    std::string id;
    std::string name;
    std::string type; // "filesystem", "memory"
    std::uint64_t size_bytes = 0;
    std::string status; // "available", "in_use", "trashed", "quarantined"
    std::int64_t created_ns = 0;
    std::int64_t last_used_ns = 0; // 0: never
    std::string current_job;       // empty: none
    std::vector<std::pair<std::string, std::string>> labels;
    std::uint32_t owner = 0;  // uid
    std::string backend;      // "image", "tmpfs", …
    std::string enforcement;  // "kernel"
    std::uint64_t inodes = 0; // as asked; 0: the backend's default
    bool is_protected = false;
    std::int64_t trashed_until_ns = 0; // 0: not in the trash
    std::uint64_t soft_size_bytes = 0; // 0: none
    std::uint64_t soft_inodes = 0;     // 0: none
    protocol::IoLimits io;             // of jobs that have it, unless they are run with others
    std::optional<bool> no_swap;       // memory: the kernel keeps it out of swap
};

// What a table shows besides the usual columns.
struct TableLook {
    bool owners = false;
    bool trash = false; // until when a volume can be restored, in the place of its job
};

// Every text ends with a newline. `width`: columns of the terminal, which no line of a table goes beyond (see render_columns);
// nullopt: no terminal, nothing is cut.
std::string render_list(std::span<const VolumeView> volumes, Format format, TableLook look, std::optional<unsigned> width);

// One volume: an object. Table: one "KEY  value" per line.
std::string render_volume(const VolumeView& volume, Format format);
// Several volumes in full: a list of such objects. Table: one after the other.
std::string render_volumes(std::span<const VolumeView> volumes, Format format);

// Names or ids: one per line, or a list.
std::string render_names(std::span<const std::string> names, Format format);

struct VersionView {
    std::string client;
    std::optional<std::string> server; // nullopt: not reachable
    std::string server_problem;        // why not; only shown to people
};
std::string render_version(const VersionView& version, Format format);

// For stderr: "rnx: sentence" and "hint: …", or one line of JSON.
std::string render_error(const Error& error, Format format);

// "2026-01-02T03:04:05Z". Precondition: a year of four digits.
std::string rfc3339(std::int64_t ns);
// "2026-01-02T03:04:05.678Z"
std::string rfc3339_milliseconds(std::int64_t ns);

// Without what a terminal would obey: control characters become '?'.
std::string printable(std::string_view text);

} // namespace joblet::cli
