// jobletd's parts that need no root: its command line, the descriptor store, the pace of restarts, the filter's table.
#include <doctest/doctest.h>

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "api-unpriv/filter_table.h"
#include "broker-root/broker/filter_table.h"
#include "broker-root/jobletd/arguments.h"
#include "broker-root/jobletd/descriptor_store.h"
#include "broker-root/jobletd/filter_table.h"
#include "broker-root/jobletd/restart_pace.h"
#include "broker-root/jobletd/services.h"
#include "broker-root/jobletd/supervision.h"
#include "broker-root/spawner/filter_table_init.h"
#include "broker-root/spawner/filter_table_job.h"
#include "broker-root/spawner/filter_table_spawner.h"
#include "broker-root/worker/filter_table.h"

namespace joblet::jobletd {
namespace {

std::expected<Arguments, std::string> parse(std::vector<const char*> words) {
    return parse_arguments(words, "/somewhere");
}

TEST_CASE("jobletd: a root is made absolute and normal") {
    struct Row {
        const char* given;
        const char* root;
    };
    for (const auto& [given, root] : {Row{"/srv/joblet", "/srv/joblet"}, Row{"/srv//joblet/", "/srv/joblet"}, Row{"/", ""}, Row{"//", ""},
                                      Row{"/./srv/./x", "/srv/x"}, Row{"here", "/somewhere/here"}, Row{"./here/", "/somewhere/here"}}) {
        CAPTURE(given);
        const auto parsed = parse({"--root", given});
        REQUIRE(parsed);
        CHECK(parsed->root == root);
        CHECK(parsed->action == Action::Run);
        const std::string joined = std::string("--root=") + given;
        CHECK(parse({joined.c_str()})->root == root);
    }
    CHECK(parse({})->root.empty());
}

TEST_CASE("jobletd: what is no command line of ours is refused, with what is allowed") {
    for (const auto& words : std::vector<std::vector<const char*>>{{"--root"},
                                                                   {"--root", ""},
                                                                   {"--root="},
                                                                   {"--root", "/srv/../etc"},
                                                                   {"--root", ".."},
                                                                   {"--rot", "/srv"},
                                                                   {"start"},
                                                                   {"--api-uid"},
                                                                   {"--api-uid", ""},
                                                                   {"--api-uid", "0"},
                                                                   {"--api-uid", "-1"},
                                                                   {"--api-uid", "+1"},
                                                                   {"--api-uid", "1x"},
                                                                   {"--api-uid", "nobody"},
                                                                   {"--api-uid", "4294967295"},
                                                                   {"--api-uid", "4294967296"},
                                                                   {"--api-uid", "18446744073709551617"},
                                                                   {"--api-uid", "1879048192"}, // the first slot's
                                                                   {"--api-uid", "2147352576"}, // the foreign range
                                                                   {"--print-config"},
                                                                   {"--print-config", "worker"},
                                                                   {"--version=1"}}) {
        CAPTURE(words.back());
        const auto parsed = parse(words);
        REQUIRE_FALSE(parsed);
        CHECK_FALSE(parsed.error().empty());
    }
    CHECK(parse({"--api-uid", "1"})->api_uid == 1U);
    CHECK(parse({"--api-uid", "4294967294"})->api_uid == 4294967294U);
    CHECK(parse({"--print-config", "broker"})->action == Action::PrintBrokerConfig);
    CHECK(parse({"--print-config=api"})->action == Action::PrintApiConfig);
    CHECK(parse({"--version"})->action == Action::ShowVersion);
    CHECK(parse({"--help"})->action == Action::ShowHelp);
}

std::vector<Fd> some(std::size_t count) {
    std::vector<Fd> out;
    out.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        out.emplace_back(::dup(STDERR_FILENO));
    }
    return out;
}

bool is_open(int fd) {
    const Fd copy(::dup(fd));
    return copy.valid();
}

TEST_CASE("jobletd: the store keeps what it was given until told otherwise, and closes it then") {
    DescriptorStore store;
    const auto key = make_random_id<JobId>();
    CHECK(store.put({}, some(1)) == DescriptorStore::Put::Malformed);
    CHECK(store.put(key, {}) == DescriptorStore::Put::Malformed);
    CHECK(store.put(key, some(kStoredDescriptorsMax + 1)) == DescriptorStore::Put::Malformed);
    CHECK(store.entries().empty());

    auto given = some(kStoredDescriptorsMax);
    const int first = given.front().get();
    REQUIRE(store.put(key, std::move(given)) == DescriptorStore::Put::Done);
    CHECK(is_open(first));
    CHECK(store.entries().at(key).size() == kStoredDescriptorsMax);

    REQUIRE(store.put(key, some(1)) == DescriptorStore::Put::Done); // replaces
    CHECK(store.entries().at(key).size() == 1);
    const int second = store.entries().at(key).front().get();
    store.drop(make_random_id<JobId>()); // unknown: nothing happens
    CHECK(is_open(second));
    store.drop(key);
    CHECK(store.entries().empty());
    CHECK_FALSE(is_open(second));
}

TEST_CASE("jobletd: the store is bounded, and a full one still replaces") {
    DescriptorStore store;
    JobId key;
    for (std::size_t i = 0; i < kStoredKeysMax; ++i) {
        key.bytes = {1, static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(i >> 8U)};
        std::vector<Fd> none(1); // an empty Fd stands for one: thousands of real ones would need a raised limit
        REQUIRE(store.put(key, std::move(none)) == DescriptorStore::Put::Done);
    }
    CHECK(store.put(make_random_id<JobId>(), some(1)) == DescriptorStore::Put::Full);
    CHECK(store.put(key, some(1)) == DescriptorStore::Put::Done);
    store.drop(key);
    CHECK(store.put(make_random_id<JobId>(), some(1)) == DescriptorStore::Put::Done);
}

TEST_CASE("jobletd: a death is mended at once, five fast ones in a row only after a pause") {
    using namespace std::chrono_literals;
    RestartPace pace;
    const Clock::time_point start{};
    for (int i = 0; i < 4; ++i) {
        CHECK(pace.after_death(start, start + 10ms) == start + 10ms);
    }
    CHECK(pace.after_death(start, start + 10ms) == start + 10ms + 1s);
    CHECK(pace.after_death(start, start + 999ms) == start + 999ms + 1s);
    CHECK(pace.after_death(start, start + 1s) == start + 1s); // it lived
    CHECK(pace.after_death(start, start + 10ms) == start + 10ms);
}

TEST_CASE("jobletd: hands on no capability that no service has") {
    CHECK(service_of(Role::Api)->capabilities == 0);
    CHECK(service_of(Role::Api)->user == RunAs::ApiUser);
    for (const int never : {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_KILL, CAP_SYS_PTRACE, CAP_SYS_MODULE, CAP_SYS_RESOURCE,
                            CAP_SETFCAP, CAP_BPF, CAP_NET_RAW}) {
        CHECK((kHandedOn & bit(never)) == 0);
    }
    CHECK(service_of(static_cast<Role>(0)) == nullptr);
    CHECK(service_of(static_cast<Role>(5)) == nullptr);
}

bool is_conditional(const SyscallRule& row) {
    return std::ranges::any_of(row.arguments, [](const auto& rule) { return rule.test != ArgumentRule::Test::None; });
}

bool same_rule(const ArgumentRule& a, const ArgumentRule& b) {
    return a.test == b.test && a.argument == b.argument && a.mask == b.mask && a.value == b.value;
}

// Whether all that `row` allows is allowed by `table`: its own conditions, or none.
bool covered(const std::vector<SyscallRule>& table, const SyscallRule& row) {
    return std::ranges::any_of(table, [&row](const auto& other) {
        return other.number == row.number && (!is_conditional(other) || std::ranges::equal(other.arguments, row.arguments, same_rule));
    });
}

// A filter is inherited: what jobletd may not call, nobody may.
TEST_CASE("jobletd: its filter has what each of the others may call") {
    const auto table = filter_table();
    const auto check = [&table](const char* program, std::span<const SyscallRule> rows) {
        CAPTURE(program);
        CHECK_FALSE(rows.empty());
        for (const auto& row : rows) {
            const std::string call(row.name);
            CAPTURE(call);
            CHECK(covered(table, row));
        }
    };
    check("joblet-broker", broker::filter_table());
    check("joblet-worker", worker::worker_calls());
    check("joblet-spawner", spawner::stage_calls());
    check("pid 1 of a job", spawner::init_calls());
    check("job", spawner::job_calls());
    check("joblet-api", api::allowed_calls());
}

TEST_CASE("jobletd: its filter lets nothing of ours call what none of them needs") {
    const auto table = filter_table();
    for (const long never : {SYS_mount,
                             SYS_ptrace,
                             SYS_bpf,
                             SYS_io_uring_setup,
                             SYS_open_by_handle_at,
                             SYS_name_to_handle_at,
                             SYS_init_module,
                             SYS_finit_module,
                             SYS_delete_module,
                             SYS_kexec_load,
                             SYS_reboot,
                             SYS_swapon,
                             SYS_add_key,
                             SYS_keyctl,
                             SYS_userfaultfd,
                             SYS_perf_event_open,
                             SYS_process_vm_writev,
                             SYS_pidfd_getfd,
                             SYS_iopl,
                             SYS_ioperm,
                             SYS_acct,
                             SYS_settimeofday,
                             SYS_clock_settime,
                             SYS_syslog,
                             SYS_chroot}) {
        CAPTURE(never);
        CHECK(std::ranges::none_of(table, [never](const auto& row) { return row.number == never; }));
    }
    CHECK(compile_filter(table, {}, OtherCalls::FailWithEPERM).has_value());
}

} // namespace
} // namespace joblet::jobletd
