#include "cli/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "cli/failure.h"

namespace joblet::cli {
namespace {

// 0 or errno.
int write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const auto written = ::write(fd, text.data(), text.size());
        if (written >= 0) {
            text.remove_prefix(static_cast<std::size_t>(written));
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

} // namespace

void open_missing_stdio() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != fd) { // the lowest free number is the missing one
            _exit(1);
        }
    }
}

std::optional<unsigned> terminal_width(int fd) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) != 0) {
        return std::nullopt;
    }
    constexpr unsigned kUsual = 80; // serial lines do not know their width
    return size.ws_col == 0 ? kUsual : size.ws_col;
}

void write_stdout(std::string_view text) {
    if (const int problem = write_all(STDOUT_FILENO, text)) {
        throw CommandFailure({ErrorCode::Internal, std::string("the output could not be written: ") + std::strerror(problem), ""});
    }
}

void write_stderr(std::string_view text) {
    write_all(STDERR_FILENO, text);
}

} // namespace joblet::cli
