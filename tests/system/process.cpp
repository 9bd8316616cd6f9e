#include "tests/system/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace joblet::testing {

namespace {

struct Pipe {
    Fd read;
    Fd write;
};

Pipe make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        throw std::runtime_error("no pipe");
    }
    return {Fd(ends[0]), Fd(ends[1])};
}

std::vector<char*> pointers(const Words& words) {
    std::vector<char*> out;
    for (const auto& word : words) {
        out.push_back(const_cast<char*>(word.c_str())); // NOLINT(cppcoreguidelines-pro-type-const-cast): execve only reads
    }
    out.push_back(nullptr);
    return out;
}

// Appends what is there; false at the end of the file.
bool take(int fd, std::string& to) {
    std::array<char, 65536> part{};
    const ssize_t size = ::read(fd, part.data(), part.size());
    if (size > 0) {
        to.append(part.data(), static_cast<std::size_t>(size));
    }
    return size > 0;
}

} // namespace

int patience() {
    static const int factor = [] {
        const char* const word = std::getenv("JOBLET_TEST_PATIENCE");
        return word == nullptr ? 1 : std::max(1, std::atoi(word));
    }();
    return factor;
}

Process::Process(const Command& command) {
    auto in = make_pipe();
    auto out = make_pipe();
    auto err = make_pipe();
    const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const auto words = pointers(command.words);
    const auto environment = pointers(command.environment);
    pid_ = ::fork();
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL); // nothing outlives a test that was interrupted
        ::setpgid(0, 0);
        const int input = command.input_descriptor >= 0 ? command.input_descriptor : in.read.get();
        ::dup2(command.null_input ? null.get() : input, STDIN_FILENO);
        ::dup2(out.write.get(), STDOUT_FILENO);
        ::dup2(err.write.get(), STDERR_FILENO);
        for (const int fd : command.descriptors) {
            ::fcntl(fd, F_SETFD, 0);
        }
        if (command.uid != 0 && (::setgroups(0, nullptr) != 0 || ::setresgid(command.uid, command.uid, command.uid) != 0 ||
                                 ::setresuid(command.uid, command.uid, command.uid) != 0)) {
            ::_exit(99);
        }
        ::signal(SIGPIPE, SIG_DFL);
        ::execve(words[0], words.data(), environment.data());
        ::_exit(98);
    }
    if (pid_ < 0) {
        throw std::runtime_error("no process");
    }
    out_ = std::move(out.read);
    err_ = std::move(err.read);
    writer_ = std::jthread([to = std::move(in.write), text = command.input] {
        std::size_t done = 0;
        while (done < text.size()) {
            const ssize_t size = ::write(to.get(), text.data() + done, text.size() - done);
            if (size <= 0) {
                break;
            }
            done += static_cast<std::size_t>(size);
        }
    });
}

Process::~Process() {
    if (pid_ > 0) {
        ::kill(-pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
}

void Process::signal(int number) const {
    ::kill(pid_, number);
}

bool Process::collect(int timeout_ms) {
    std::array<pollfd, 2> events = {pollfd{out_.get(), POLLIN, 0}, pollfd{err_.get(), POLLIN, 0}};
    ::poll(events.data(), events.size(), timeout_ms);
    if (events[0].revents != 0 && !take(out_.get(), outcome_.out)) {
        out_.reset();
    }
    if (events[1].revents != 0 && !take(err_.get(), outcome_.err)) {
        err_.reset();
    }
    return out_.valid() || err_.valid();
}

Outcome Process::wait(milliseconds limit) {
    constexpr int kStepMs = 10;
    const auto end = std::chrono::steady_clock::now() + limit * patience();
    int status = 0;
    bool ended = false;
    while (!ended && std::chrono::steady_clock::now() < end) {
        if (!collect(kStepMs)) {
            std::this_thread::sleep_for(milliseconds(1));
        }
        ended = ::waitpid(pid_, &status, WNOHANG) == pid_;
    }
    if (!ended) {
        ::kill(-pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        outcome_.err += "\n(ended by the test: it took too long)";
    } else {
        outcome_.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    pid_ = -1;
    // What it wrote before its end is in the pipes; somebody else may hold them open
    std::size_t before = 0;
    do {
        before = outcome_.out.size() + outcome_.err.size();
    } while (collect(0) && outcome_.out.size() + outcome_.err.size() != before);
    return std::move(outcome_);
}

bool Process::wait_for_output(std::string_view text, milliseconds limit) {
    return becomes_true(
        [&] {
            collect(0);
            return outcome_.out.find(text) != std::string::npos;
        },
        limit);
}

Outcome run(const Command& command, milliseconds limit) {
    return Process(command).wait(limit);
}

std::string read_file(const std::string& path) {
    // Not by a stream: a file of proc whose process goes is an error in the middle, and then what came before counts
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::string out;
    std::array<char, 65536> part{};
    for (ssize_t size = 0; file.valid() && (size = ::read(file.get(), part.data(), part.size())) > 0;) {
        out.append(part.data(), static_cast<std::size_t>(size));
    }
    return out;
}

void write_file(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::binary) << text;
}

} // namespace joblet::testing
