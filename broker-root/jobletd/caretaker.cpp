#include "broker-root/jobletd/caretaker.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include <fmt/format.h>

#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/process.h"
#include "shared/datagram.h"

namespace joblet::jobletd {

namespace {

constexpr int kPatienceMs = 1000;
// Places of its two descriptors, after stdin, stdout and stderr
constexpr int kSocketFd = 3;
constexpr int kParentFd = 4;
constexpr int kAside = 16; // above both places

constexpr auto kCalls = std::to_array<SyscallRule>({
    {SYS_read, "read", "waits for jobletd's word", {arg_is32(0, kSocketFd)}},
    {SYS_unlinkat, "unlinkat", "removes the group, if it is empty", {arg_is32(0, kParentFd), arg_is32(2, AT_REMOVEDIR)}},
    {SYS_exit_group, "exit_group", "ends with jobletd"},
});

// The child. No allocation from here on.
[[noreturn]] void serve(int socket, int parent, const char* group, const FilterProgram& filter) {
    const int socket_aside = ::fcntl(socket, F_DUPFD_CLOEXEC, kAside);
    const int parent_aside = ::fcntl(parent, F_DUPFD_CLOEXEC, kAside);
    kernel::set_process_name("jobletd-cgroup");
    if (::dup2(socket_aside, kSocketFd) != kSocketFd || ::dup2(parent_aside, kParentFd) != kParentFd ||
        ::close_range(kParentFd + 1, UINT_MAX, 0) != 0 || ::setsid() < 0 || !kernel::drop_bounding(0) ||
        !kernel::confine_process(kernel::CapabilityMask{1} << static_cast<unsigned>(CAP_DAC_OVERRIDE)) || install_filter(filter) != 0) {
        ::_exit(1);
    }
    char word = 0;
    if (::read(kSocketFd, &word, 1) == 1) {
        ::unlinkat(kParentFd, group, AT_REMOVEDIR); // EBUSY: jobs live in it
    }
    ::_exit(0);
}

} // namespace

std::span<const SyscallRule> caretaker_calls() {
    return kCalls;
}

std::expected<Caretaker, std::string> Caretaker::start(int parent, const std::string& group) {
    const auto filter = compile_filter(caretaker_calls(), {}, OtherCalls::KillProcess);
    if (!filter) {
        return std::unexpected(filter.error());
    }
    auto [ours, theirs] = make_seqpacket_pair();
    const pid_t child = ::fork();
    if (child < 0) {
        return std::unexpected(fmt::format("could not start the process that removes the cgroup at the end: {}", std::strerror(errno)));
    }
    if (child == 0) {
        serve(theirs.get(), parent, group.c_str(), *filter);
    }
    return Caretaker(std::move(ours), child);
}

void Caretaker::remove_group() {
    constexpr char kWord = 'r';
    if (send_message(socket_.get(), kWord, {}, Wait::No)) {
        pollfd end{socket_.get(), POLLIN, 0};
        if (::poll(&end, 1, kPatienceMs) > 0) {
            ::waitpid(pid_, nullptr, 0); // its socket is closed: it is past everything that could take time
        }
    }
}

} // namespace joblet::jobletd
