// A user at a terminal: a real pty, a program in a session of its own on it, what is typed and what is seen.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "shared/fd.h"
#include "tests/system/process.h"

namespace joblet::testing {

class Terminal {
  public:
    // Starts the command with the terminal as its controlling one. Ended by the destructor if it has not been waited for.
    explicit Terminal(const Command& command, unsigned short rows = 24, unsigned short columns = 80);
    ~Terminal();
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    void type(std::string_view text);
    void resize(unsigned short rows, unsigned short columns) const;
    // Everything seen since the last match contains `text`; what comes up to its end is taken as seen.
    bool sees(std::string_view text, milliseconds limit = seconds(10));
    // What has been seen and not been matched.
    [[nodiscard]] const std::string& screen() const {
        return screen_;
    }
    // Exit status as a shell has it; -1 if it had to be ended.
    int wait(milliseconds limit = seconds(20));
    // Whether the terminal echoes and waits for whole lines, as a shell left it.
    [[nodiscard]] bool is_cooked() const;
    // The user closes the window.
    void close();
    [[nodiscard]] pid_t pid() const {
        return pid_;
    }

  private:
    bool take(int timeout_ms);

    pid_t pid_ = -1;
    Fd master_;
    Fd slave_; // kept, so that what was written last can still be read
    std::string screen_;
};

} // namespace joblet::testing
