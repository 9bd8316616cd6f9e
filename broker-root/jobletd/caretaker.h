// The top of the cgroup2 tree belongs to root but is writable by nobody (mode 0555): to remove a group there takes
// DAC_OVERRIDE, which is far more than jobletd should keep for that. So a process of its own keeps it, and nothing else: it can
// remove the one group whose name it was started with, when jobletd says so, and make no other call.
#pragma once

#include <sys/types.h>

#include <expected>
#include <span>
#include <string>

#include "shared/fd.h"
#include "shared/filter.h"

namespace joblet::jobletd {

// All that the process may call while it waits for that word; anything else ends it.
std::span<const SyscallRule> caretaker_calls();

class Caretaker {
  public:
    // Forks; call before capabilities are given up. `parent` is a directory of cgroup2. An error is a sentence.
    static std::expected<Caretaker, std::string> start(int parent, const std::string& group);

    // Removes the group if it is empty. Waits at most a second for it to be done. Without this, closing ends it.
    void remove_group();

  private:
    Caretaker(Fd socket, pid_t pid) : socket_(std::move(socket)), pid_(pid) {}

    Fd socket_;
    pid_t pid_;
};

} // namespace joblet::jobletd
