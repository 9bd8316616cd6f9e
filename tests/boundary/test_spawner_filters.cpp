// The filters of spawner, pid 1 and jobs, compared with their tables call by call.
#include <doctest/doctest.h>

#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "broker-root/spawner/confinement.h"
#include "broker-root/spawner/filter_table_init.h"
#include "broker-root/spawner/filter_table_job.h"
#include "broker-root/spawner/filter_table_spawner.h"
#include "tests/boundary/bpf_evaluator.h"

namespace joblet::testing {

namespace {

using Arguments = std::array<std::uint64_t, 6>;
constexpr int kLastNumber = 600;
constexpr std::uint32_t kEperm = SECCOMP_RET_ERRNO | EPERM;

const spawner::Filters& filters() {
    static const auto compiled = spawner::compile_filters();
    REQUIRE(compiled);
    return *compiled;
}

bool is_allowed(std::span<const SyscallRule> table, int number, const Arguments& arguments) {
    return std::ranges::any_of(table, [&](const auto& row) { return row.number == number && holds(row.arguments, arguments); });
}

// Arguments that a row names, and each of them with one bit changed, in and beyond the 32 that the kernel looks at.
std::vector<Arguments> perturbations(std::span<const SyscallRule> table, int number) {
    std::vector<Arguments> out = {Arguments{}, {~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL}};
    for (const auto& row : table) {
        if (row.number != number) {
            continue;
        }
        Arguments exact{};
        for (const auto& rule : row.arguments) {
            exact[rule.argument] |= rule.test == ArgumentRule::Test::None ? 0 : rule.value;
        }
        out.push_back(exact);
        for (std::size_t argument = 0; argument < exact.size(); ++argument) {
            for (unsigned bit = 0; bit < 64; ++bit) {
                Arguments changed = exact;
                changed[argument] ^= 1ULL << bit;
                out.push_back(changed);
            }
        }
    }
    return out;
}

void compare(const FilterProgram& program, std::span<const SyscallRule> table, std::uint32_t others, int except = -1) {
    for (int number = 0; number <= kLastNumber; ++number) {
        if (number == except) {
            continue;
        }
        for (const auto& arguments : perturbations(table, number)) {
            const std::uint32_t expected = is_allowed(table, number, arguments) ? SECCOMP_RET_ALLOW : others;
            if (evaluate(program, number, arguments) != expected) {
                INFO("call ", number, " ", arguments[0], " ", arguments[1], " ", arguments[2]);
                CHECK(evaluate(program, number, arguments) == expected);
            }
        }
    }
}

std::vector<SyscallRule> spawner_table() {
    std::vector<SyscallRule> all(spawner::job_calls().begin(), spawner::job_calls().end());
    all.insert(all.end(), spawner::stage_calls().begin(), spawner::stage_calls().end());
    return all;
}

// The stricter of two answers, as the kernel takes it
std::uint32_t verdict_on_ioctl(std::uint64_t command) {
    const Arguments arguments = {0, command, 0, 0, 0, 0};
    return std::min(evaluate(filters().controls, SYS_ioctl, arguments), evaluate(filters().stage.job, SYS_ioctl, arguments));
}

} // namespace

TEST_CASE("case_23: every call from 0 to 600 is allowed exactly if the table of its process has a row for it") {
    compare(filters().stage.job, spawner::job_calls(), kEperm, SYS_clone3);
    compare(filters().own, spawner_table(), kEperm);
    compare(filters().stage.init, spawner::init_calls(), SECCOMP_RET_KILL_PROCESS);
    CHECK(evaluate(filters().stage.job, SYS_clone3, {}) == (SECCOMP_RET_ERRNO | ENOSYS));
}

TEST_CASE("calls by i386 and x32 numbers are killed") {
    for (const auto* program : {&filters().stage.job, &filters().own, &filters().stage.init, &filters().controls}) {
        CHECK(evaluate(*program, 20, {}, AUDIT_ARCH_I386) == SECCOMP_RET_KILL_PROCESS);
        CHECK(evaluate(*program, 0x40000000 | SYS_getpid, {}) == SECCOMP_RET_KILL_PROCESS);
    }
}

TEST_CASE("every row of a table has a reason, and its name is that of its number once") {
    const auto whole = spawner_table();
    for (const auto& row : whole) {
        INFO(row.name);
        CHECK(!row.reason.empty());
        CHECK(std::ranges::none_of(whole, [&](const auto& other) { return (other.number == row.number) != (other.name == row.name); }));
    }
}

TEST_CASE("case_30: of the ioctls, projects, subvolumes and typing into terminals are refused, clones of data are not") {
    for (const std::uint64_t refused :
         {std::uint64_t{TIOCSTI}, std::uint64_t{TIOCLINUX}, std::uint64_t{TIOCSETD}, std::uint64_t{FS_IOC_FSSETXATTR},
          std::uint64_t{0x5000940e}, std::uint64_t{0x50009417}, std::uint64_t{0x40049409} ^ 0x1}) {
        INFO(refused);
        CHECK(verdict_on_ioctl(refused) == kEperm);
        CHECK(verdict_on_ioctl(refused | 1ULL << 32U) == kEperm);
    }
    for (const std::uint64_t allowed :
         {std::uint64_t{FICLONE}, std::uint64_t{FICLONERANGE}, std::uint64_t{FIDEDUPERANGE}, std::uint64_t{FS_IOC_SETFLAGS},
          std::uint64_t{FS_IOC_GETFLAGS}, std::uint64_t{FS_IOC_FSGETXATTR}, std::uint64_t{TIOCGWINSZ}, std::uint64_t{TIOCSCTTY},
          std::uint64_t{FIONREAD},
          // A stage makes the job's terminal with these, and a job its own
          std::uint64_t{TIOCSPTLCK}, std::uint64_t{TIOCGPTPEER}, std::uint64_t{TIOCSWINSZ}, std::uint64_t{TIOCGPTN}}) {
        INFO(allowed);
        CHECK(verdict_on_ioctl(allowed) == SECCOMP_RET_ALLOW);
    }
    int clones = 0;
    for (std::uint64_t number = 0; number < 256; ++number) {
        clones += verdict_on_ioctl(0x9400 | number) == SECCOMP_RET_ALLOW ? 1 : 0;
    }
    CHECK(clones == 3);
}

} // namespace joblet::testing
