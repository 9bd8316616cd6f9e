// A job as this daemon knows it: what the broker says of it, and what its user asked for.
#pragma once

#include <string>
#include <vector>

#include "shared/protocol_messages.h"

namespace joblet::api {

struct UsedVolume {
    VolumeId id;
    std::string name; // at the time; empty if it is not known
    std::string target;
    bool read_only = false;

    bool operator==(const UsedVolume&) const = default;
};

struct Job {
    JobId id;
    std::uint32_t owner_uid = 0;
    protocol::JobState state = protocol::JobState::Starting;
    std::int64_t started_ns = 0;
    protocol::JobLimits limits; // as the kernel was told
    ExitRecord exit;            // ended; kind Killed with ended_ns 0: nobody saw the end
    // Empty if the job was started before the history was lost
    std::string name;
    std::vector<std::string> command; // cut at kCommandKept bytes
    std::string base;
    std::string host_name;
    std::vector<UsedVolume> volumes;
    bool detached = false;
    bool remove_at_end = false; // forgotten, by the broker as well, when it has ended
};

// Of a job's command line, so that history stays small: whole arguments up to so many bytes.
inline constexpr std::size_t kCommandKept = 4096;

} // namespace joblet::api
