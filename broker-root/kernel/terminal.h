// Pseudo terminals, made in a devpts instance that is given by path.
#pragma once

#include <cstdint>

#include "broker-root/kernel/result.h"
#include "shared/fd.h"

namespace joblet::kernel {

struct WindowSize {
    std::uint16_t rows = 0;
    std::uint16_t columns = 0; // both 0: the kernel's default
};
struct Terminal {
    Fd master; // both CLOEXEC
    Fd slave;  // nobody's controlling terminal
};
// `ptmx`: the multiplexer of a devpts instance that is mounted in the caller's own namespace. The slave is opened through its
// master (TIOCGPTPEER), so it is that instance's, whatever lies at /dev/pts elsewhere.
Result<Terminal> open_terminal(const char* ptmx, WindowSize size);

// The caller, a session leader without a terminal, takes it as its controlling terminal. EPERM: it is another session's.
Result<void> take_terminal(int slave);

} // namespace joblet::kernel
