#include "broker-root/kernel/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>

namespace joblet::kernel {

Result<Terminal> open_terminal(const char* ptmx, WindowSize size) {
    constexpr int kFlags = O_RDWR | O_NOCTTY | O_CLOEXEC;
    Terminal made;
    made.master = Fd(::open(ptmx, kFlags));
    if (!made.master.valid()) {
        return last_errno();
    }
    int locked = 0;
    if (::ioctl(made.master.get(), TIOCSPTLCK, &locked) < 0) {
        return last_errno();
    }
    made.slave = Fd(::ioctl(made.master.get(), TIOCGPTPEER, kFlags));
    if (!made.slave.valid()) {
        return last_errno();
    }
    if (size.rows != 0 || size.columns != 0) {
        const winsize window{.ws_row = size.rows, .ws_col = size.columns, .ws_xpixel = 0, .ws_ypixel = 0};
        if (::ioctl(made.slave.get(), TIOCSWINSZ, &window) < 0) {
            return last_errno();
        }
    }
    return made;
}

Result<void> take_terminal(int slave) {
    if (::ioctl(slave, TIOCSCTTY, 0) < 0) {
        return last_errno();
    }
    return {};
}

} // namespace joblet::kernel
