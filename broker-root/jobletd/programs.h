// Starting our other programs: those that lie beside jobletd's own, and nothing else.
#pragma once

#include <sys/types.h>

#include <expected>
#include <span>
#include <string>

#include "broker-root/jobletd/directories.h"
#include "broker-root/jobletd/services.h"
#include "shared/fd.h"

namespace joblet::jobletd {

class Programs {
  public:
    // Finds the directory of /proc/self/exe and checks that every program is there, belongs to root or to jobletd's own owner,
    // and is writable by nobody else. An error is a sentence.
    static std::expected<Programs, std::string> find();

    // Replaces this process by `program` (--print-config). Returns only if that fails: the sentence.
    std::string become(const char* program, std::span<const char* const> arguments) const;

    // Starts a service in the cgroup `group` (O_PATH directory): stdin, stdout and stderr as they are here, `descriptors` at 3
    // and up, nothing else; an empty environment; a session of its own, so that Ctrl-C reaches jobletd alone.
    std::expected<pid_t, std::string> start(const Service& service, const std::string& root, ApiUser api, int group,
                                            std::span<const int> descriptors) const;

  private:
    explicit Programs(Fd directory) : directory_(std::move(directory)) {}

    Fd directory_; // O_PATH
};

} // namespace joblet::jobletd
