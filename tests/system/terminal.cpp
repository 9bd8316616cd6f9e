#include "tests/system/terminal.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <vector>

namespace joblet::testing {

Terminal::Terminal(const Command& command, unsigned short rows, unsigned short columns)
    : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    std::array<char, 64> name{};
    if (!master_.valid() || ::grantpt(master_.get()) != 0 || ::unlockpt(master_.get()) != 0 ||
        ::ptsname_r(master_.get(), name.data(), name.size()) != 0) {
        throw std::runtime_error("no pseudo terminal");
    }
    slave_ = Fd(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (command.uid != 0 && ::fchown(slave_.get(), command.uid, command.uid) != 0) {
        throw std::runtime_error("the terminal cannot be given to its user");
    }
    resize(rows, columns);
    std::vector<char*> words;
    for (const auto& word : command.words) {
        words.push_back(const_cast<char*>(word.c_str())); // NOLINT(cppcoreguidelines-pro-type-const-cast): execve only reads
    }
    words.push_back(nullptr);
    std::vector<char*> environment;
    for (const auto& variable : command.environment) {
        environment.push_back(const_cast<char*>(variable.c_str())); // NOLINT(cppcoreguidelines-pro-type-const-cast): likewise
    }
    environment.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::setsid();
        ::ioctl(slave_.get(), TIOCSCTTY, 0);
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
            ::dup2(slave_.get(), fd);
        }
        if (command.uid != 0 && (::setgroups(0, nullptr) != 0 || ::setresgid(command.uid, command.uid, command.uid) != 0 ||
                                 ::setresuid(command.uid, command.uid, command.uid) != 0)) {
            ::_exit(99);
        }
        ::execve(words[0], words.data(), environment.data());
        ::_exit(98);
    }
}

Terminal::~Terminal() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
}

bool Terminal::take(int timeout_ms) {
    pollfd watched{.fd = master_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&watched, 1, timeout_ms) <= 0) {
        return false;
    }
    std::array<char, 65536> part{};
    const ssize_t size = ::read(master_.get(), part.data(), part.size());
    if (size > 0) {
        screen_.append(part.data(), static_cast<std::size_t>(size));
    }
    return size > 0;
}

void Terminal::type(std::string_view text) {
    while (!text.empty()) {
        pollfd watched{.fd = master_.get(), .events = POLLIN | POLLOUT, .revents = 0};
        if (::poll(&watched, 1, 10'000) <= 0) {
            throw std::runtime_error("the terminal takes no more");
        }
        if ((watched.revents & POLLIN) != 0) {
            take(0); // whoever does not read what comes back gets no more typed
        }
        if ((watched.revents & POLLOUT) != 0) {
            const ssize_t size = ::write(master_.get(), text.data(), std::min<std::size_t>(text.size(), 1024));
            text.remove_prefix(size > 0 ? static_cast<std::size_t>(size) : 0);
        }
    }
}

void Terminal::resize(unsigned short rows, unsigned short columns) const {
    winsize size{};
    size.ws_row = rows;
    size.ws_col = columns;
    ::ioctl(master_.get(), TIOCSWINSZ, &size);
}

bool Terminal::sees(std::string_view text, milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
        if (const auto at = screen_.find(text); at != std::string::npos) {
            screen_.erase(0, at + text.size());
            return true;
        }
        if (std::chrono::steady_clock::now() >= end) {
            return false;
        }
        take(50);
    }
}

int Terminal::wait(milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) != pid_) {
        if (std::chrono::steady_clock::now() >= end) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
            pid_ = -1;
            return -1;
        }
        take(20);
    }
    pid_ = -1;
    while (take(0)) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool Terminal::is_cooked() const {
    termios now{};
    return ::tcgetattr(slave_.get(), &now) == 0 && (now.c_lflag & (ICANON | ECHO)) == (ICANON | ECHO);
}

void Terminal::close() {
    slave_.reset();
    master_.reset();
}

} // namespace joblet::testing
