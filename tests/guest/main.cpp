// Runs as a job and tells about it: what it is, what it can do, and how it ends.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/guest/attempts.h"
#include "tests/guest/json.h"
#include "tests/guest/leave.h"
#include "tests/guest/report.h"

namespace {

using guest::number;
using guest::object;
using guest::quoted;
using Words = std::span<char* const>;

constexpr int kUsage = 2;

void print(const std::string& json) {
    std::cout << json << '\n' << std::flush; // seen at once, also through a pipe
}

int report(Words) {
    print(guest::report());
    return 0;
}

int attempts(Words words) {
    print(guest::attempts(words.empty() ? "/work" : words[0]));
    return 0;
}

// fill PATH BYTES: writes at most so much, then fsync; {"written": bytes, "error": "ok" or errno's name}
int fill(Words words) {
    if (words.size() != 2) {
        return kUsage;
    }
    const unsigned long long wanted = std::strtoull(words[1], nullptr, 10);
    const int fd = ::open(words[0], O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    unsigned long long written = 0;
    int error = fd < 0 ? errno : 0;
    const std::vector<char> part(std::size_t{1} << 16U, 'j');
    while (error == 0 && written < wanted) {
        const auto size = std::min<unsigned long long>(part.size(), wanted - written);
        const ssize_t done = ::write(fd, part.data(), size);
        if (done < 0) {
            error = errno;
        } else {
            written += static_cast<unsigned long long>(done);
        }
    }
    if (fd >= 0 && ::fsync(fd) < 0 && error == 0) {
        error = errno;
    }
    ::close(fd);
    print(object().add("written", std::to_string(written)).add("error", quoted(error == 0 ? "ok" : ::strerrorname_np(error))).json());
    return error == 0 ? 0 : 1;
}

int leave(Words words) {
    if (words.size() != 2) {
        return kUsage;
    }
    print(guest::leave(words[0], words[1]));
    return 0;
}

int end(Words words) {
    return words.empty() ? kUsage : std::atoi(words[0]);
}

int kill_self(Words words) {
    if (words.empty()) {
        return kUsage;
    }
    ::raise(std::atoi(words[0]));
    return 0;
}

int sleep_for(Words words) {
    if (words.empty()) {
        return kUsage;
    }
    print(object().add("sleeping", number(::getpid())).json());
    ::sleep(static_cast<unsigned>(std::atoi(words[0])));
    return 0;
}

// orphan [SECONDS]: leaves a daemon of its own session behind that closes nothing and sleeps; ends at once
int orphan(Words words) {
    const unsigned seconds = words.empty() ? 3600 : static_cast<unsigned>(std::atoi(words[0]));
    const pid_t middle = ::fork();
    if (middle == 0) {
        ::setsid();
        if (::fork() == 0) {
            ::sleep(seconds);
        }
        ::_exit(0);
    }
    ::waitpid(middle, nullptr, 0);
    print(object().add("orphan", "true").json());
    return 0;
}

// orphans COUNT: as many that end at once and are pid 1's to reap; {"zombies": those it did not}
int orphans(Words words) {
    const int count = words.empty() ? 1 : std::atoi(words[0]);
    std::vector<pid_t> left;
    for (int i = 0; i < count; ++i) {
        std::array<int, 2> pipe{};
        if (::pipe2(pipe.data(), O_CLOEXEC) < 0) {
            return 1;
        }
        const pid_t middle = ::fork();
        if (middle == 0) {
            const pid_t last = ::fork();
            if (last == 0) {
                ::_exit(0);
            }
            [[maybe_unused]] const ssize_t written = ::write(pipe[1], &last, sizeof last);
            ::_exit(0);
        }
        pid_t last = 0;
        if (::read(pipe[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last)) {
            left.push_back(last);
        }
        ::close(pipe[0]);
        ::close(pipe[1]);
        ::waitpid(middle, nullptr, 0);
    }
    std::size_t zombies = 0;
    for (int round = 0; round < 100; ++round) {
        zombies = 0;
        for (const pid_t pid : left) {
            zombies += ::kill(pid, 0) == 0 ? 1 : 0;
        }
        if (zombies == 0) {
            break;
        }
        ::usleep(10'000);
    }
    print(object().add("zombies", std::to_string(zombies)).json());
    return 0;
}

// Ignores what can be ignored; ends by SIGKILL alone, or after a minute
int ignore_term(Words) {
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
        std::signal(signal, SIG_IGN);
    }
    print(object().add("ignoring", number(::getpid())).json());
    for (int second = 0; second < 60; ++second) {
        ::sleep(1);
    }
    return 0;
}

// Prints the signal that arrives first
int await_signal(Words) {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    print(object().add("waiting", number(::getpid())).json());
    int arrived = 0;
    ::sigwait(&all, &arrived);
    print(object().add("signal", number(arrived)).json());
    return 0;
}

// cat: standard input to standard output, to the end
int cat(Words) {
    std::array<char, 4096> part{};
    for (ssize_t size = 0; (size = ::read(STDIN_FILENO, part.data(), part.size())) > 0;) {
        if (::write(STDOUT_FILENO, part.data(), static_cast<std::size_t>(size)) != size) {
            return 1;
        }
    }
    return 0;
}

// hand-out PATH…: a descriptor of each, in a message of its own, into the socket that is standard input
int hand_out(Words words) {
    for (const char* const path : words) {
        const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            return 1;
        }
        char byte = 0;
        iovec part{&byte, 1};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fd)> control{};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        cmsghdr* const entry = CMSG_FIRSTHDR(&header);
        entry->cmsg_level = SOL_SOCKET;
        entry->cmsg_type = SCM_RIGHTS;
        entry->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(entry), &fd, sizeof fd);
        if (::sendmsg(STDIN_FILENO, &header, 0) != 1) {
            return 1;
        }
        ::close(fd);
    }
    return 0;
}

struct Command {
    std::string_view name;
    int (*run)(Words);
};
constexpr std::array kCommands = {
    Command{"report", report},           Command{"attempts", attempts},         Command{"fill", fill},     Command{"exit", end},
    Command{"kill", kill_self},          Command{"sleep", sleep_for},           Command{"orphan", orphan}, Command{"orphans", orphans},
    Command{"ignore-term", ignore_term}, Command{"await-signal", await_signal}, Command{"cat", cat},       Command{"leave", leave},
    Command{"hand-out", hand_out},
};

} // namespace

int main(int argc, char** argv) {
    const Words words(argv, static_cast<std::size_t>(argc));
    const std::string_view name = words.size() > 1 ? words[1] : "report";
    for (const auto& command : kCommands) {
        if (command.name == name) {
            return command.run(words.subspan(std::min<std::size_t>(2, words.size())));
        }
    }
    std::cerr << "joblet-guest: no such command: " << name << '\n';
    return kUsage;
}
