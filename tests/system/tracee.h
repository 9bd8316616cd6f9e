// A running thread, held by ptrace(2): which filters it has, and what comes of a call that it did not want to make. Needs
// SYS_PTRACE and SYS_ADMIN, and a kernel with CONFIG_CHECKPOINT_RESTORE.
#pragma once

#include <sys/types.h>

#include <vector>

#include "shared/filter.h"

namespace joblet::testing {

class Tracee {
  public:
    // Stops it wherever it is. Throws if it cannot be traced.
    explicit Tracee(pid_t thread);
    // Lets it go on as if nothing had been.
    ~Tracee();
    Tracee(const Tracee&) = delete;
    Tracee& operator=(const Tracee&) = delete;

    // As they were installed, the first one first. Throws if the kernel does not tell.
    [[nodiscard]] std::vector<FilterProgram> filters() const;

    // The thread makes this call, all arguments 0, in place of the one that it makes next; it must be waiting in one, which is made
    // again afterwards. The answer, -errno as the kernel gives it; or what the whole process died of, as a positive number.
    struct End {
        bool died = false;
        int signal = 0;  // if it died
        long result = 0; // otherwise
    };
    End make_call(long number);

  private:
    int wait() const;

    pid_t thread_;
    bool gone_ = false;
};

} // namespace joblet::testing
