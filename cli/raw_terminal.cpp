#include "cli/raw_terminal.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "cli/failure.h"

namespace joblet::cli {

std::optional<winsize> window_size(int fd) {
    winsize size{};
    return ::ioctl(fd, TIOCGWINSZ, &size) == 0 ? std::optional(size) : std::nullopt;
}

RawTerminal::RawTerminal(int fd) : fd_(fd) {
    termios raw{};
    if (::tcgetattr(fd, &before_) == 0) {
        raw = before_;
        ::cfmakeraw(&raw);
        if (::tcsetattr(fd, TCSANOW, &raw) == 0) {
            return;
        }
    }
    throw CommandFailure({ErrorCode::Internal, std::string("your terminal could not be set up: ") + std::strerror(errno), ""});
}

RawTerminal::~RawTerminal() {
    // There is nobody left to tell if it fails: then the terminal is gone.
    (void)::tcsetattr(fd_, TCSANOW, &before_);
}

} // namespace joblet::cli
