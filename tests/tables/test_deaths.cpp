// The same filters in the kernel: a child installs one and makes a call that it does not have.
#include <doctest/doctest.h>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <vector>

#include "tests/boundary/bpf_evaluator.h"
#include "tests/tables/perturbations.h"
#include "tests/tables/process_tables.h"

namespace joblet::testing {

namespace {

constexpr int kLastNumber = 600;
constexpr int kNotInstalled = 99;
constexpr int kWentThrough = 7;
constexpr int kOtherErrno = 8;

// In a session of its own, so that nothing it could do reaches a terminal; without a core file for each death; without doctest's handlers
// of signals, which could not end it under a filter; and with an end, should a filter be wrong.
template <class Action> int in_confined_child(const FilterProgram& program, Action action) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const rlimit none{};
        ::setrlimit(RLIMIT_CORE, &none);
        const rlimit seconds{2, 2};
        ::setrlimit(RLIMIT_CPU, &seconds);
        for (const int signal : {SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGABRT, SIGTERM, SIGINT}) {
            ::signal(signal, SIG_DFL);
        }
        ::setsid();
        if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || install_filter(program) != 0) {
            ::_exit(kNotInstalled);
        }
        ::_exit(action());
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

// uretprobe and uprobe, made by trampolines of the kernel's own: it lets them past every filter (Linux 6.14). From anywhere else they do
// nothing but fail, or end the process with SIGILL.
bool passes_every_filter(int number) {
    return number == 335 || number == 336;
}

long call(int number, const Arguments& a) {
    return ::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void check_death(const FilterProgram& program, int number, const Arguments& arguments) {
    const int status =
        in_confined_child(program, [&] { return call(number, arguments) < 0 && passes_every_filter(number) ? kOtherErrno : kWentThrough; });
    if (passes_every_filter(number) && ((WIFEXITED(status) && WEXITSTATUS(status) == kOtherErrno) || WTERMSIG(status) == SIGILL)) {
        return;
    }
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS) { // hundreds of deaths: only survivors are told
        FAIL_CHECK("call " << number << " ended the process with status " << status << " and not by SIGSYS");
    }
}

} // namespace

TEST_CASE("in processes that do not start programs, every call off the table ends the process with SIGSYS") {
    int processes = 0;
    for (const auto& table : process_tables()) {
        if (table.others != OtherCalls::KillProcess) {
            continue;
        }
        CAPTURE(table.process);
        ++processes;
        const auto program = compiled(table);
        // What is on the table goes through: the child's own end is such a call
        CHECK(WEXITSTATUS(in_confined_child(program, [] { return kWentThrough; })) == kWentThrough);
        int deaths = 0;
        for (int number = 0; number <= kLastNumber; ++number) {
            if (std::ranges::none_of(table.calls, [number](const auto& row) { return row.number == number; })) {
                check_death(program, number, {});
                ++deaths;
            }
        }
        CHECK(deaths > kLastNumber / 2);
    }
    CHECK(processes == 7); // jobletd's cgroup process, broker, worker, pid 1, API, rnx
}

TEST_CASE("a call on the table with arguments that no row of it has ends the process with SIGSYS") {
    constexpr std::size_t kOfEachRow = 4;
    for (const auto& table : process_tables()) {
        if (table.others != OtherCalls::KillProcess) {
            continue;
        }
        CAPTURE(table.process);
        const auto program = compiled(table);
        const auto is_allowed = [&table](int number, const Arguments& arguments) {
            return std::ranges::any_of(table.calls,
                                       [&](const auto& row) { return row.number == number && holds(row.arguments, arguments); });
        };
        for (const auto& row : table.calls) {
            std::size_t found = 0;
            for (const auto& arguments : perturbations(row.arguments)) {
                if (found < kOfEachRow && !is_allowed(row.number, arguments)) {
                    check_death(program, row.number, arguments);
                    ++found;
                }
            }
        }
    }
}

TEST_CASE("in processes that start jobs, and in jobs, every call off the table fails with EPERM, and clone3 in a job with ENOSYS") {
    for (const auto& table : process_tables()) {
        if (table.others != OtherCalls::FailWithEPERM) {
            continue;
        }
        CAPTURE(table.process);
        const auto program = compiled(table);
        int survived = 0;
        for (int number = 0; number <= kLastNumber; ++number) {
            if (passes_every_filter(number) ||
                std::ranges::any_of(table.calls, [number](const auto& row) { return row.number == number; })) {
                continue;
            }
            const auto refusal = std::ranges::find(table.refusals, number, &SyscallRefusal::number);
            const int expected = refusal != table.refusals.end() ? refusal->error : EPERM;
            const int status = in_confined_child(program, [&] {
                errno = 0;
                return call(number, {}) == -1 && errno == expected ? kWentThrough : kOtherErrno;
            });
            if (!WIFEXITED(status) || WEXITSTATUS(status) != kWentThrough) {
                FAIL_CHECK("call " << number << " gave status " << status);
            }
            ++survived;
        }
        CHECK(survived > 100);
    }
    const auto& job = table_of("job");
    CHECK(job.refusals.size() == 1);
    CHECK(job.refusals.front().error == ENOSYS);
}

TEST_CASE("an i386 number kills also where other calls only fail") {
    for (const auto* process : {"jobletd", "joblet-spawner", "job"}) {
        CAPTURE(process);
        const int status = in_confined_child(compiled(table_of(process)), [] {
            long result = 20; // getpid of i386, through the old gate
            asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
            return kWentThrough;
        });
        CHECK(WIFSIGNALED(status));
        CHECK((WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV)); // SEGV: a kernel without 32-bit calls
    }
}

} // namespace joblet::testing
