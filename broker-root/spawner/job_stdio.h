// Where a job's stdin, stdout and stderr come from.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "broker-root/kernel/result.h"
#include "shared/exit_record.h"
#include "shared/fd.h"

namespace joblet::spawner {

class JobStdio {
  public:
    // What rnx put into the socket before it gave the other end away. May block on a user's own file system: only this job waits.
    // EPROTO: that is no hello; EPERM: a descriptor of a kind that no job may have.
    kernel::Result<void> receive(int control);
    // If the hello asked for one: of the job's own devpts, so that it has a name inside. The master leaves through the socket; when
    // its last copy is closed, the kernel hangs up on the job.
    kernel::Result<void> open_terminal(int control);
    // For a detached job, nobody's hello: the job's own null device, for stdout and stderr until there is a log.
    kernel::Result<void> open_null();

    [[nodiscard]] bool has_terminal() const {
        return (hello_.flags & kHelloTerminal) != 0;
    }
    // Once there is one: stdin, stdout and stderr, which stay this object's.
    [[nodiscard]] std::array<int, kHelloDescriptors> descriptors() const;

  private:
    ControlHello hello_;
    std::vector<Fd> fds_; // three, or one that is all of them
};

// Puts pipes in the place of stdout and stderr; gives the reading ends of both, O_NONBLOCK and CLOEXEC. To be called with an id of the
// job's, because a pipe belongs to whoever made it: only so can the job open /dev/stdout again.
kernel::Result<std::array<int, 2>> make_output_pipes();

// Stdout and stderr belong to these ids of the user namespace that was joined. Of what was made here, not of what somebody gave.
kernel::Result<void> give_output_to(std::uint32_t user, std::uint32_t group);

} // namespace joblet::spawner
