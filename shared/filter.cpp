#include "shared/filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "shared/fd.h"

namespace joblet {

namespace {

static_assert(sizeof(sock_filter) == sizeof(std::uint64_t));

struct ReleaseContext {
    void operator()(void* context) const {
        seccomp_release(context);
    }
};
using Context = std::unique_ptr<void, ReleaseContext>;

struct Conditions {
    std::array<scmp_arg_cmp, 4> list{};
    unsigned count = 0;
};

Conditions conditions_of(const std::array<ArgumentRule, 4>& rules) {
    Conditions out;
    for (const auto& rule : rules) {
        scmp_arg_cmp condition{};
        condition.arg = rule.argument;
        switch (rule.test) {
        case ArgumentRule::Test::None:
            continue;
        case ArgumentRule::Test::Equal:
            condition.op = SCMP_CMP_EQ;
            condition.datum_a = rule.value;
            break;
        case ArgumentRule::Test::MaskedEqual:
            condition.op = SCMP_CMP_MASKED_EQ;
            condition.datum_a = rule.mask;
            condition.datum_b = rule.value;
            break;
        case ArgumentRule::Test::LessOrEqual:
            condition.op = SCMP_CMP_LE;
            condition.datum_a = rule.value;
            break;
        }
        out.list[out.count++] = condition;
    }
    return out;
}

std::uint32_t default_action(OtherCalls others) {
    switch (others) {
    case OtherCalls::FailWithEPERM:
        return SCMP_ACT_ERRNO(EPERM);
    case OtherCalls::LeaveToAllowlist:
        return SCMP_ACT_ALLOW;
    case OtherCalls::KillProcess:
        break;
    }
    return SCMP_ACT_KILL_PROCESS;
}

std::unexpected<std::string> refused_row(std::string_view name, int code) {
    return std::unexpected("the filter's row for " + std::string(name) + " is not accepted: " + std::strerror(-code));
}

} // namespace

std::expected<FilterProgram, std::string> compile_filter(std::span<const SyscallRule> allowed, std::span<const SyscallRefusal> refused,
                                                         OtherCalls others) {
    const Context context(seccomp_init(default_action(others)));
    if (!context) {
        return std::unexpected("no memory for the filter");
    }
    // A foreign architecture (int 0x80, x32) kills, whatever the default
    seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2); // a binary tree: cost does not grow with the table
    for (const auto& row : allowed) {
        const auto conditions = conditions_of(row.arguments);
        if (const int code =
                seccomp_rule_add_exact_array(context.get(), SCMP_ACT_ALLOW, row.number, conditions.count, conditions.list.data());
            code != 0) {
            return refused_row(row.name, code);
        }
    }
    for (const auto& row : refused) {
        const auto conditions = conditions_of(row.arguments);
        const int code = seccomp_rule_add_exact_array(context.get(), SCMP_ACT_ERRNO(static_cast<unsigned>(row.error)), row.number,
                                                      conditions.count, conditions.list.data());
        if (code != 0) {
            return refused_row(row.name, code);
        }
    }
    const Fd memory(::memfd_create("joblet-filter", MFD_CLOEXEC));
    if (!memory.valid()) {
        return std::unexpected(std::string("no memory file for the filter: ") + std::strerror(errno));
    }
    if (const int code = seccomp_export_bpf(context.get(), memory.get()); code != 0) {
        return std::unexpected(std::string("the filter does not compile: ") + std::strerror(-code));
    }
    const off_t size = ::lseek(memory.get(), 0, SEEK_END);
    FilterProgram program;
    program.instructions.resize(static_cast<std::size_t>(size) / sizeof(sock_filter));
    if (size <= 0 || ::pread(memory.get(), program.instructions.data(), static_cast<std::size_t>(size), 0) != size) {
        return std::unexpected("the compiled filter cannot be read back");
    }
    return program;
}

int install_filter(const FilterProgram& program) {
    sock_fprog out{};
    out.len = static_cast<unsigned short>(program.instructions.size());
    // The kernel only reads it; the cast undoes the neutral element type of the header
    out.filter = reinterpret_cast<sock_filter*>(
        const_cast<std::uint64_t*>(program.instructions.data())); // NOLINT(cppcoreguidelines-pro-type-const-cast)
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &out, 0, 0) == 0 ? 0 : errno;
}

} // namespace joblet
