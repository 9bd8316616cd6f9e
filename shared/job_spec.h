// argv, environment and working directory of a job: one memfd, made by the broker, written by the API, passed through unread, sealed and
// parsed by the job's own process after it has dropped everything.
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

inline constexpr std::size_t kJobSpecMax = std::size_t{2} << 20U; // bytes, and the size of its memory
inline constexpr std::uint32_t kJobArgumentsMax = 16384;
inline constexpr std::uint32_t kJobEnvironmentMax = 16384;

struct JobSpecHeader {
    std::uint32_t magic = 0; // kJobSpecMagic
    std::uint32_t argument_count = 0;
    std::uint32_t environment_count = 0;
    std::uint32_t text_size = 0; // bytes that follow: arguments, environment, working directory, each ending with NUL
};
inline constexpr std::uint32_t kJobSpecMagic = 0x4A535043; // "JSPC"

// As it lies in memory. An error is a sentence for the user (too large, too many, a NUL inside, nothing to run).
std::expected<std::string, std::string> encode_job_spec(const JobSpec& spec);

// A memfd of kJobSpecMax bytes, which whoever has it can write, and nobody make larger or smaller. Not valid, with errno, if there is none
// to be had.
Fd make_spec_memory();
// Into such memory. 0 or errno.
int write_spec_memory(int memory, std::string_view encoded);
// From now on nobody can write it. 0 or errno; EBUSY: somebody has it mapped to be written. May wait for a moment, for a device that is
// reading it.
int seal_spec_memory(int memory);

// Views into `bytes`, whose beginning the spec is; no allocation beyond the two vectors. An error is errno-like: EINVAL.
struct JobSpecView {
    std::vector<const char*> arguments;   // ends with nullptr, as execve(2) wants it
    std::vector<const char*> environment; // ends with nullptr
    const char* working_directory = nullptr;
};
std::expected<JobSpecView, int> parse_job_spec(std::span<const char> bytes);

} // namespace joblet
