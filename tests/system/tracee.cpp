#include "tests/system/tracee.h"

#include <linux/filter.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>

namespace joblet::testing {

namespace {

constexpr int kSystemCallStop = SIGTRAP | 0x80; // PTRACE_O_TRACESYSGOOD
constexpr int kGetFilter = 0x420c;              // PTRACE_SECCOMP_GET_FILTER
constexpr long kSizeOfCall = 2;                 // the instruction `syscall`

template <class Data> long request(int what, pid_t thread, std::uintptr_t address, Data data) {
    return ::ptrace(static_cast<__ptrace_request>(what), thread, address, data);
}

void must(long result, const char* what) {
    if (result < 0) {
        throw std::runtime_error(std::string("ptrace, ") + what + ": " + std::strerror(errno));
    }
}

// The signal of a filter that kills is there already.
bool is_killed(pid_t thread) {
    std::ifstream status("/proc/" + std::to_string(thread) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("SigPnd:")) {
            constexpr int kHexadecimal = 16;
            return (std::stoull(line.substr(line.find('\t') + 1), nullptr, kHexadecimal) & (1ULL << (SIGSYS - 1U))) != 0;
        }
    }
    return false;
}

bool is_entering(pid_t thread) {
    __ptrace_syscall_info info{};
    must(request(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info), "ask for the call");
    return info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

} // namespace

Tracee::Tracee(pid_t thread) : thread_(thread) {
    must(request(PTRACE_SEIZE, thread_, 0, PTRACE_O_TRACESYSGOOD), "seize");
    must(request(PTRACE_INTERRUPT, thread_, 0, 0), "interrupt");
    wait();
}

Tracee::~Tracee() {
    if (!gone_) {
        request(PTRACE_DETACH, thread_, 0, 0);
    }
}

int Tracee::wait() const {
    int status = 0;
    while (::waitpid(thread_, &status, __WALL) < 0) {
        if (errno != EINTR) {
            throw std::runtime_error(std::string("waiting for a traced thread: ") + std::strerror(errno));
        }
    }
    return status;
}

std::vector<FilterProgram> Tracee::filters() const {
    std::vector<FilterProgram> all;
    for (std::uintptr_t index = 0;; ++index) {
        const long size = request(kGetFilter, thread_, index, nullptr);
        if (size < 0 && errno == ENOENT) {
            return all;
        }
        must(size, "size of a filter");
        FilterProgram program;
        program.instructions.resize(static_cast<std::size_t>(size));
        must(request(kGetFilter, thread_, index, program.instructions.data()), "read a filter");
        all.push_back(std::move(program));
    }
}

Tracee::End Tracee::make_call(long number) {
    user_regs_struct before{};
    for (;;) { // what comes before the call that it goes on with is the stop of the interruption itself
        must(request(PTRACE_SYSCALL, thread_, 0, 0), "go on to the next call");
        const int status = wait();
        if (WIFSIGNALED(status) || WIFEXITED(status)) {
            gone_ = true;
            throw std::runtime_error("a traced thread has ended by itself");
        }
        // It may be on its way out of the call that the interruption has ended
        if (WSTOPSIG(status) == kSystemCallStop && is_entering(thread_)) {
            break;
        }
    }
    must(request(PTRACE_GETREGS, thread_, 0, &before), "read registers");
    auto changed = before;
    changed.orig_rax = static_cast<unsigned long long>(number);
    changed.rdi = changed.rsi = changed.rdx = changed.r10 = changed.r8 = changed.r9 = 0;
    must(request(PTRACE_SETREGS, thread_, 0, &changed), "change the call");
    must(request(PTRACE_SYSCALL, thread_, 0, 0), "make the call");
    const int status = wait();
    if (WIFSIGNALED(status)) {
        gone_ = true;
        return {.died = true, .signal = WTERMSIG(status)};
    }
    if (WIFEXITED(status) || WSTOPSIG(status) != kSystemCallStop) {
        throw std::runtime_error("a traced thread neither died nor came back from a call");
    }
    if (is_killed(thread_)) { // it dies on its way back
        must(request(PTRACE_CONT, thread_, 0, 0), "let it die");
        const int death = wait();
        gone_ = WIFSIGNALED(death);
        return {.died = WIFSIGNALED(death), .signal = WIFSIGNALED(death) ? WTERMSIG(death) : 0};
    }
    must(request(PTRACE_GETREGS, thread_, 0, &changed), "read the answer");
    const End end{.result = static_cast<long>(changed.rax)};
    // Back to before its own call, which it makes as if nothing had been
    before.rax = before.orig_rax;
    before.orig_rax = ~0ULL;
    before.rip -= kSizeOfCall;
    must(request(PTRACE_SETREGS, thread_, 0, &before), "put back the call");
    return end;
}

} // namespace joblet::testing
