// The caller's terminal while a job has one of its own.
#pragma once

#include <sys/ioctl.h>
#include <termios.h>

#include <optional>

namespace joblet::cli {

// nullopt: not a terminal. Rows and columns can be 0: not known.
std::optional<winsize> window_size(int fd);

// Raw as long as this lives: each key goes to the job, Ctrl-C and Ctrl-Z too, and what the job writes is shown as it is.
class RawTerminal {
  public:
    // Throws CommandFailure. Precondition: a terminal.
    explicit RawTerminal(int fd);
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;
    ~RawTerminal();

  private:
    int fd_;
    termios before_{};
};

} // namespace joblet::cli
