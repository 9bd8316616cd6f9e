// Programs that tests run: with an id, input and a time limit; their output and how they ended. Ended by pid only.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "shared/fd.h"

namespace joblet::testing {

using Words = std::vector<std::string>;
using std::chrono::milliseconds;
using std::chrono::seconds;

// What every time limit here is multiplied by: JOBLET_TEST_PATIENCE of the environment, for machines that are slow (tests/vm).
// 1 without it.
int patience();

struct Command {
    Words words;
    uid_t uid = 0; // and gid
    std::string input;
    bool null_input = false;   // /dev/null instead of a pipe with `input`
    int input_descriptor = -1; // this one instead of the pipe
    Words environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
    std::vector<int> descriptors; // further ones that it inherits, at their own numbers
};

struct Outcome {
    int status = -1; // exit code, 128 + signal, or -1 if it had to be ended
    std::string out;
    std::string err;
};

// Running in a process group of its own; ended by the destructor if it has not been waited for.
class Process {
  public:
    explicit Process(const Command& command);
    Process(Process&& other) noexcept
        : pid_(std::exchange(other.pid_, -1)), out_(std::move(other.out_)), err_(std::move(other.err_)),
          outcome_(std::move(other.outcome_)), writer_(std::move(other.writer_)) {}
    Process& operator=(Process&&) = delete;
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process();

    [[nodiscard]] pid_t pid() const {
        return pid_;
    }
    void signal(int number) const;
    // Collects output until it has ended, or has been ended because `limit` has passed.
    Outcome wait(milliseconds limit = seconds(30));
    // What has been written so far to stdout contains `text`, within the limit.
    bool wait_for_output(std::string_view text, milliseconds limit = seconds(10));

  private:
    bool collect(int timeout_ms); // false: nothing more can come

    pid_t pid_ = -1;
    Fd out_;
    Fd err_;
    Outcome outcome_;
    std::jthread writer_; // of the input, which may be more than a pipe takes
};

Outcome run(const Command& command, milliseconds limit = seconds(30));

// Tries `condition` every few milliseconds; false if it did not become true in time.
template <class Condition> bool becomes_true(Condition condition, milliseconds limit = seconds(10)) {
    const auto end = std::chrono::steady_clock::now() + limit * patience();
    while (!condition()) {
        if (std::chrono::steady_clock::now() >= end) {
            return false;
        }
        std::this_thread::sleep_for(milliseconds(10));
    }
    return true;
}

std::string read_file(const std::string& path);
void write_file(const std::string& path, std::string_view text);

} // namespace joblet::testing
