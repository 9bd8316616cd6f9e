#include "broker-root/jobletd/programs.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/process.h"

namespace joblet::jobletd {

namespace {

constexpr int kFirstGiven = 3;       // after stdin, stdout and stderr
constexpr std::size_t kGivenMax = 3; // the broker's
constexpr int kAside = 16;           // above every place, so that moving one descriptor never overwrites another
constexpr int kCannotRun = 126;      // what a shell says
constexpr std::size_t kArgumentsMax = 4;

// From here to exec or _exit: no allocation, no library that remembers the parent.
bool place(std::span<const int> descriptors) {
    std::array<int, kGivenMax> aside{};
    for (std::size_t i = 0; i < descriptors.size(); ++i) {
        aside[i] = ::fcntl(descriptors[i], F_DUPFD_CLOEXEC, kAside);
        if (aside[i] < 0) {
            return false;
        }
    }
    int next = kFirstGiven;
    for (std::size_t i = 0; i < descriptors.size(); ++i, ++next) {
        if (::dup2(aside[i], next) < 0) {
            return false;
        }
    }
    // Not closed but marked: the directory to execute from is among them
    return ::close_range(static_cast<unsigned>(next), UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0;
}

// Comes back only if it failed. An empty environment: nothing of the caller's reaches a daemon.
void execute(int directory, const char* program, const char* const* words) {
    const std::array<const char*, 1> environment = {nullptr};
    // execveat(2) changes none of it; its declaration is older than const
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
    ::execveat(directory, program, const_cast<char* const*>(words), const_cast<char* const*>(environment.data()), AT_SYMLINK_NOFOLLOW);
}

bool take_identity(const Service& service, ApiUser api) {
    // Bounding first: afterwards there may be no SETPCAP left
    if (!kernel::drop_bounding(service.capabilities | service.on_demand)) {
        return false;
    }
    if (service.user == RunAs::Root) {
        return true;
    }
    // Leaving uid 0 in all three ids empties the permitted and effective sets (capabilities(7))
    return ::setgroups(0, nullptr) == 0 && ::setresgid(api.gid, api.gid, api.gid) == 0 && ::setresuid(api.uid, api.uid, api.uid) == 0 &&
           ::setresuid(0, 0, 0) != 0;
}

std::expected<void, std::string> check_program(int directory, const char* name, uid_t owner) {
    struct stat state{};
    if (::fstatat(directory, name, &state, AT_SYMLINK_NOFOLLOW) != 0) {
        return std::unexpected(
            fmt::format("{} is not beside jobletd ({}); install or build all programs together", name, std::strerror(errno)));
    }
    if (!S_ISREG(state.st_mode) || (state.st_uid != 0 && state.st_uid != owner) || (state.st_mode & 0022) != 0) {
        return std::unexpected(fmt::format("{} beside jobletd is no regular file that only its owner, root, can write to", name));
    }
    return {};
}

} // namespace

std::expected<Programs, std::string> Programs::find() {
    std::array<char, PATH_MAX> path{};
    const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
    struct stat own{};
    if (size <= 0 || ::stat("/proc/self/exe", &own) != 0) {
        return std::unexpected(
            fmt::format("could not find jobletd's own file through /proc/self/exe ({}); is /proc mounted?", std::strerror(errno)));
    }
    const std::string_view self(path.data(), static_cast<std::size_t>(size));
    const std::string directory(self.substr(0, std::max<std::size_t>(1, self.rfind('/'))));
    const Fd low(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    // Above the places of what is given to a program, so that it is still there when they are filled
    Fd opened(::fcntl(low.get(), F_DUPFD_CLOEXEC, kAside));
    if (!opened.valid()) {
        return std::unexpected(fmt::format("could not open {}: {}", directory, std::strerror(errno)));
    }
    for (const auto& service : kServices) {
        if (auto good = check_program(opened.get(), service.program, own.st_uid); !good) {
            return std::unexpected(std::move(good.error()));
        }
    }
    return Programs(std::move(opened));
}

std::string Programs::become(const char* program, std::span<const char* const> arguments) const {
    std::array<const char*, kArgumentsMax + 1> words{program};
    std::copy_n(arguments.begin(), std::min(arguments.size(), kArgumentsMax - 1), words.begin() + 1);
    execute(directory_.get(), program, words.data());
    return fmt::format("could not execute {}: {}", program, std::strerror(errno));
}

std::expected<pid_t, std::string> Programs::start(const Service& service, const std::string& root, ApiUser api, int group,
                                                  std::span<const int> descriptors) const {
    std::array<const char*, kArgumentsMax> words{service.program};
    if (!root.empty()) {
        words[1] = "--root";
        words[2] = root.c_str();
    }
    auto child = kernel::clone_process(kernel::kNoNamespace, group);
    if (!child) {
        return std::unexpected(fmt::format("could not start {}: {}", service.program, std::strerror(child.error())));
    }
    if (child->pid != 0) {
        return child->pid;
    }
    if (::setsid() >= 0 && kernel::reset_signals() && place(descriptors) && take_identity(service, api)) {
        execute(directory_.get(), service.program, words.data());
    }
    ::_exit(kCannotRun);
}

} // namespace joblet::jobletd
