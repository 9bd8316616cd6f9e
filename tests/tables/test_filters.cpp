// Every compiled filter, compared with its table call by call. Nothing is called: see bpf_evaluator.h.
#include <doctest/doctest.h>

#include <asm/unistd_64.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <random>
#include <set>
#include <string>

#include "tests/boundary/bpf_evaluator.h"
#include "tests/tables/perturbations.h"
#include "tests/tables/process_tables.h"

namespace joblet::testing {

namespace {

constexpr int kLastNumber = 600;
constexpr int kX32Bit = 0x40000000;
constexpr std::array<std::uint32_t, 4> kForeign = {AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, AUDIT_ARCH_RISCV64, 0};

std::uint32_t verdict_on_others(OtherCalls others) {
    switch (others) {
    case OtherCalls::KillProcess:
        return SECCOMP_RET_KILL_PROCESS;
    case OtherCalls::FailWithEPERM:
        return SECCOMP_RET_ERRNO | EPERM;
    case OtherCalls::LeaveToAllowlist:
        break;
    }
    return SECCOMP_RET_ALLOW;
}

// The table read as it is written, row by row.
std::uint32_t verdict_of_table(const ProcessTable& table, int number, const Arguments& arguments) {
    const auto applies = [&](const auto& row) { return row.number == number && holds(row.arguments, arguments); };
    if (std::ranges::any_of(table.calls, applies)) {
        return SECCOMP_RET_ALLOW;
    }
    const auto refusal = std::ranges::find_if(table.refusals, applies);
    return refusal != table.refusals.end() ? SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(refusal->error)
                                           : verdict_on_others(table.others);
}

class Comparison {
  public:
    explicit Comparison(const ProcessTable& table) : table_(table), program_(compiled(table)) {}

    void check(int number, const Arguments& arguments) {
        const auto expected = verdict_of_table(table_, number, arguments);
        const auto answer = evaluate(program_, number, arguments);
        if (answer != expected) { // millions of comparisons: only what differs is told
            INFO(table_.process, ", call ", number, ", arguments ", arguments[0], " ", arguments[1], " ", arguments[2], " ", arguments[3],
                 " ", arguments[4], " ", arguments[5]);
            CHECK(answer == expected);
        }
        ++count_;
    }
    [[nodiscard]] std::uint32_t answer(int number, const Arguments& arguments, std::uint32_t architecture = AUDIT_ARCH_X86_64) const {
        return evaluate(program_, number, arguments, architecture);
    }
    [[nodiscard]] std::size_t count() const {
        return count_;
    }

  private:
    const ProcessTable& table_;
    FilterProgram program_;
    std::size_t count_ = 0;
};

// Numbers that some row is about, and its conditions.
template <class Visit> void visit_rows(const ProcessTable& table, Visit visit) {
    for (const auto& row : table.calls) {
        visit(row.number, row.arguments);
    }
    for (const auto& row : table.refusals) {
        visit(row.number, row.arguments);
    }
}

} // namespace

TEST_CASE("case_23: every number from 0 to 600, and numbers far beyond, get the answer of the table of their process") {
    const char* const given = std::getenv("JOBLET_TEST_SEED");
    const auto seed = given != nullptr ? std::stoull(given) : std::random_device()();
    MESSAGE("JOBLET_TEST_SEED=", seed);
    const int rounds = std::getenv("JOBLET_TEST_LONG") != nullptr ? 2000 : 50;
    for (const auto& table : process_tables()) {
        CAPTURE(table.process);
        Comparison comparison(table);
        std::mt19937_64 random(seed);
        const auto check_number = [&](int number) {
            comparison.check(number, {});
            comparison.check(number, {kAllOnes, kAllOnes, kAllOnes, kAllOnes, kAllOnes, kAllOnes});
            for (int round = 0; round < rounds; ++round) {
                Arguments arguments{};
                for (auto& argument : arguments) {
                    argument = random() >> (random() % 64); // as many small ones as large ones
                }
                comparison.check(number, arguments);
            }
        };
        for (int number = 0; number <= kLastNumber; ++number) {
            check_number(number);
        }
        for (const int number : {601, 1023, 1024, 4096, 65535, 65536, 0x3fffffff, -1}) {
            check_number(number);
        }
        CHECK(comparison.count() > 1000);
    }
}

TEST_CASE("arguments beside those of a row, one bit away, and beyond 32 bits get the answer of the table") {
    for (const auto& table : process_tables()) {
        CAPTURE(table.process);
        Comparison comparison(table);
        visit_rows(table, [&](int number, const auto& rules) {
            for (const auto& arguments : perturbations(rules)) {
                comparison.check(number, arguments);
            }
        });
        CHECK(comparison.count() > 100);
    }
}

// A condition that nothing can break would be no condition.
TEST_CASE("each condition of each row decides: without it the call is not allowed by that row") {
    for (const auto& table : process_tables()) {
        visit_rows(table, [&](int number, const auto& rules) {
            for (const auto& rule : rules) {
                if (rule.test == ArgumentRule::Test::None) {
                    continue;
                }
                INFO(table.process, ", call ", number, ", argument ", static_cast<int>(rule.argument));
                CHECK(holds(rules, exact_arguments(rules)));
                const auto all = perturbations(rules);
                CHECK(std::ranges::any_of(all, [&](const auto& arguments) {
                    std::array<ArgumentRule, 4> alone{};
                    alone[0] = rule;
                    return !holds(alone, arguments);
                }));
            }
        });
    }
}

TEST_CASE("numbers of other architectures, and x32 numbers, kill in every process") {
    for (const auto& table : process_tables()) {
        CAPTURE(table.process);
        const Comparison comparison(table);
        for (int number = 0; number <= kLastNumber; ++number) {
            for (const std::uint32_t architecture : kForeign) {
                if (comparison.answer(number, {}, architecture) != SECCOMP_RET_KILL_PROCESS) {
                    FAIL_CHECK("call " << number << " of architecture " << architecture);
                }
            }
            if (comparison.answer(number | kX32Bit, {}) != SECCOMP_RET_KILL_PROCESS) {
                FAIL_CHECK("x32 call " << number);
            }
        }
        CHECK(comparison.answer(kX32Bit, {}) == SECCOMP_RET_KILL_PROCESS);
    }
}

TEST_CASE("every row has a reason, a number and a name that belong together, and no call is both allowed and refused") {
    std::set<std::pair<int, std::string_view>> names;
    for (const auto& table : process_tables()) {
        CAPTURE(table.process);
        CHECK_FALSE(table.remark.empty());
        for (const auto& row : table.calls) {
            INFO(row.name);
            CHECK_FALSE(row.reason.empty());
            names.emplace(row.number, row.name);
            CHECK(std::ranges::none_of(table.refusals, [&](const auto& refusal) { return refusal.number == row.number; }));
        }
        for (const auto& row : table.refusals) {
            CHECK_FALSE(row.reason.empty());
            names.emplace(row.number, row.name);
        }
    }
    std::set<int> numbers;
    std::set<std::string_view> words;
    for (const auto& [number, name] : names) {
        INFO(name, " ", number);
        CHECK(numbers.insert(number).second);
        CHECK(words.insert(name).second);
    }
    // One from each end of the headers, so that the pairs are of this machine's numbers
    CHECK(names.contains({__NR_read, "read"}));
    CHECK(names.contains({__NR_futex_waitv, "futex_waitv"}));
}

// What root processes have no business with, and what none of them may ever get back by accident.
TEST_CASE("case_23: no process that runs as root makes programs, raw sockets, traces or old mounts once it serves") {
    for (const auto* process : {"joblet-broker", "joblet-closer", "joblet-worker", "jobletd-cgroup", "pid 1 of a job", "joblet-api"}) {
        const Comparison comparison(table_of(process));
        for (const int number : {__NR_mount,
                                 __NR_open,
                                 __NR_execve,
                                 __NR_execveat,
                                 __NR_fork,
                                 __NR_vfork,
                                 __NR_clone,
                                 __NR_clone3,
                                 __NR_socket,
                                 __NR_connect,
                                 __NR_bind,
                                 __NR_listen,
                                 __NR_ptrace,
                                 __NR_bpf,
                                 __NR_io_uring_setup,
                                 __NR_open_by_handle_at,
                                 __NR_keyctl,
                                 __NR_add_key,
                                 __NR_userfaultfd,
                                 __NR_perf_event_open,
                                 __NR_init_module,
                                 __NR_finit_module,
                                 __NR_kexec_load,
                                 __NR_reboot,
                                 __NR_pidfd_getfd,
                                 __NR_process_vm_readv,
                                 __NR_process_vm_writev,
                                 __NR_setuid,
                                 __NR_setresuid,
                                 __NR_chroot,
                                 __NR_prctl,
                                 __NR_seccomp}) {
            INFO(process, ", call ", number);
            CHECK(comparison.answer(number, {}) == SECCOMP_RET_KILL_PROCESS);
            CHECK(comparison.answer(number, {kAllOnes, kAllOnes, kAllOnes, kAllOnes, kAllOnes, kAllOnes}) == SECCOMP_RET_KILL_PROCESS);
        }
    }
}

TEST_CASE("the mount calls are the worker's and the stage's alone, and none makes a mount with fewer restrictions than promised") {
    for (const auto* process : {"joblet-broker", "joblet-closer", "jobletd-cgroup", "pid 1 of a job", "job", "joblet-api", "rnx"}) {
        for (const auto& row : table_of(process).calls) {
            for (const int number : {__NR_mount, __NR_umount2, __NR_pivot_root, __NR_fsopen, __NR_fsconfig, __NR_fsmount, __NR_fspick,
                                     __NR_open_tree, __NR_move_mount, __NR_mount_setattr, __NR_setns}) {
                INFO(process, ", ", row.name);
                CHECK(row.number != number);
            }
        }
    }
    const auto refused = [](const char* process, int number, const Arguments& arguments) {
        return Comparison(table_of(process)).answer(number, arguments) != SECCOMP_RET_ALLOW;
    };
    constexpr std::uint64_t kReadOnly = 1; // MOUNT_ATTR_… of linux/mount.h
    constexpr std::uint64_t kNoSuid = 2;
    constexpr std::uint64_t kNoDev = 4;
    constexpr std::uint64_t kNoExec = 8;
    for (const auto* process : {"joblet-worker", "joblet-spawner", "jobletd"}) {
        CAPTURE(process);
        CHECK(refused(process, __NR_fsmount, {0, 1, 0}));
        CHECK(refused(process, __NR_fsmount, {0, 1, kReadOnly | kNoSuid}));
        CHECK(refused(process, __NR_fsmount, {0, 1, kNoDev | kNoExec}));
        CHECK_FALSE(refused(process, __NR_fsmount, {0, 1, kReadOnly | kNoSuid | kNoDev | kNoExec}));
        for (const std::uint64_t command :
             {2ULL, 3ULL, 4ULL, 5ULL, 8ULL}) { // binary, path, path of a descriptor, descriptor, exclusive create
            CHECK(refused(process, __NR_fsconfig, {0, command}));
            CHECK(refused(process, __NR_fsconfig, {0, 1ULL << 32U | command}));
        }
    }
}

} // namespace joblet::testing
