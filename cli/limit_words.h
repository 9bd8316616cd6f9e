// The words of limits. Only for arguments*.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cli/arguments.h"
#include "cli/grammar.h"

namespace joblet::cli {

// The word that takes a soft limit away.
inline constexpr std::string_view kNoneWord = "none";

// All of these throw Refused.

// A whole number in `least` … `most`; 0 if it was not given. `what` is counted: "number of processes".
std::uint64_t take_count(std::string_view what, std::string_view text, std::uint64_t least, std::uint64_t most);
// A size in `least` … `most`; 0 if it was not given. `what` is sized: "size of /work".
std::uint64_t take_size_within(std::string_view what, std::string_view text, std::uint64_t least, std::uint64_t most);
// CPUs as a decimal number with at most three places, in thousandths; 0 if it was not given.
std::uint64_t take_cpus(std::string_view text);

// --read-bps, --write-bps, --read-iops and --write-iops, as typed.
struct IoOptions {
    std::string read_bps; // empty: not given
    std::string write_bps;
    std::string read_iops;
    std::string write_iops;

    // What is said of each begins and ends with these: for whom, and "its volumes".
    void add_to(CLI::App& command, std::string_view begin, std::string_view end);
    [[nodiscard]] protocol::IoLimits take() const;
};

// --memory, --swap, --pids, --cpus and those of io, as typed.
struct JobLimitOptions {
    std::string memory; // empty: not given
    std::string swap;
    std::string processes;
    std::string cpus;
    IoOptions io;

    void add_to(CLI::App& command);
    [[nodiscard]] JobLimits take() const;
};

// --size, --inodes, --soft-size and --soft-inodes, as typed.
struct CapacityOptions {
    std::string size; // empty: not given
    std::string inodes;
    std::string soft_size;
    std::string soft_inodes;

    // For a volume that is to be made; whether its backend can hold a soft limit is another question.
    void add_for_create(CLI::App& command);
    void take(VolumeCreate& create) const;
    // For one that is there: `none` takes a soft limit away.
    void add_for_resize(CLI::App& command);
    [[nodiscard]] VolumeResize take_changes(std::string name) const;
};

} // namespace joblet::cli
