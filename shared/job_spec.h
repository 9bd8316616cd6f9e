// argv, environment and working directory of a job: one sealed memfd, written by the API, passed through unread, parsed
// by the stage after it has dropped everything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shared/fd.h"

namespace joblet {

struct JobSpec {
    std::vector<std::string> arguments;   // at least one
    std::vector<std::string> environment; // NAME=VALUE
    std::string working_directory;        // absolute
};

inline constexpr std::uint32_t kJobArgumentsMax = 16384;
inline constexpr std::uint32_t kJobEnvironmentMax = 16384;

struct JobSpecHeader {
    std::uint32_t magic = 0; // kJobSpecMagic
    std::uint32_t argument_count = 0;
    std::uint32_t environment_count = 0;
    std::uint32_t text_size = 0; // bytes that follow: arguments, environment, working directory, each ending with NUL
};
inline constexpr std::uint32_t kJobSpecMagic = 0x4A535043; // "JSPC"

// A sealed memfd. An error is a sentence for the user (too large, too many, a NUL inside, nothing to run).
std::expected<Fd, std::string> make_job_spec(const JobSpec& spec);

// Views into `bytes`; no allocation beyond the two vectors. An error is errno-like: EINVAL.
struct JobSpecView {
    std::vector<const char*> arguments;   // ends with nullptr, as execve(2) wants it
    std::vector<const char*> environment; // ends with nullptr
    const char* working_directory = nullptr;
};
std::expected<JobSpecView, int> parse_job_spec(std::span<const char> bytes);

} // namespace joblet
