// Who opens, reads or writes anything on a file system, by process: fanotify(7). An O_PATH descriptor is no opening.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "shared/fd.h"
#include "tests/system/installation.h"

namespace joblet::testing {

class OpenWatch {
  public:
    struct Event {
        pid_t pid = 0;
        bool is_write = false;
        std::string path; // as this process sees it, or empty
    };

    OpenWatch();
    // The whole file system that this path is on, through whichever mount it is reached.
    void add(const std::string& path) const;
    // What has happened since the last call.
    [[nodiscard]] std::vector<Event> events() const;

  private:
    Fd group_;
};

// "PATH by PID" of what any of these did: for a check that wants none of it.
std::vector<std::string> done_by(const std::vector<OpenWatch::Event>& events, const std::set<pid_t>& pids);

// jobletd and all of its children, and the first process of each job.
std::set<pid_t> privileged_pids(const Installation& here);

} // namespace joblet::testing
