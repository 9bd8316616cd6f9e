// jobletd's parts that need no root: its command line, the descriptor store, the pace of restarts, the filter's table.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "api-unpriv/filter_table.h"
#include "broker-root/broker/filter_table.h"
#include "broker-root/jobletd/arguments.h"
#include "broker-root/jobletd/controllers.h"
#include "broker-root/jobletd/descriptor_store.h"
#include "broker-root/jobletd/filter_table.h"
#include "broker-root/jobletd/install_host.h"
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
                                                                   {"--enable-controllers=1"},
                                                                   {"--jobs-cgroup"},
                                                                   {"--jobs-cgroup", ""},
                                                                   {"--jobs-cgroup", "/"},
                                                                   {"--jobs-cgroup", "a/../b"},
                                                                   {"--jobs-cgroup", "a", "--enable-controllers"},
                                                                   {"--keep-jobs-cgroup=1"},
                                                                   {"--version=1"}}) {
        CAPTURE(words.back());
        const auto parsed = parse(words);
        REQUIRE_FALSE(parsed);
        CHECK_FALSE(parsed.error().empty());
    }
    CHECK(parse({"--api-uid", "1"})->api_uid == 1U);
    CHECK(parse({"--api-uid", "4294967294"})->api_uid == 4294967294U);
    CHECK_FALSE(parse({})->enable_controllers);
    CHECK(parse({"--enable-controllers", "--root", "/srv"})->enable_controllers);
    CHECK(kUsage.find("--enable-controllers  ") != std::string_view::npos);
    CHECK(parse({})->jobs_cgroup.empty());
    CHECK(parse({"--jobs-cgroup", "/a.slice//b/"})->jobs_cgroup == "a.slice/b");
    CHECK(parse({"--jobs-cgroup=a.slice/b"})->jobs_cgroup == "a.slice/b");
    CHECK(parse({"--keep-jobs-cgroup"})->action == Action::KeepJobsCgroup);
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
    // Of these two a worker has the use for one call, where the machine has them; nobody else has
    CHECK(kOnDemand == (bit(CAP_SYS_RESOURCE) | bit(CAP_DAC_READ_SEARCH)));
    for (const auto& service : kServices) {
        CHECK(service.on_demand == (service.role == Role::Worker ? kOnDemand : 0));
    }
    CHECK(service_of(static_cast<Role>(0)) == nullptr);
    CHECK(service_of(static_cast<Role>(5)) == nullptr);
}

// A root with a directory for bases, removed at the end.
class RootForBases {
  public:
    RootForBases() {
        std::string pattern = (std::filesystem::temp_directory_path() / "joblet-unit-XXXXXX").string();
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        layout_.root = pattern;
        std::filesystem::create_directories(layout_.state() + "/bases");
    }
    ~RootForBases() {
        std::error_code ignored;
        std::filesystem::remove_all(layout_.root, ignored);
    }
    RootForBases(const RootForBases&) = delete;
    RootForBases& operator=(const RootForBases&) = delete;

    [[nodiscard]] const Layout& layout() const {
        return layout_;
    }
    [[nodiscard]] std::filesystem::path base() const {
        return layout_.host_base();
    }

  private:
    Layout layout_;
};

std::string contents_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
}

TEST_CASE("jobletd: a group hands on what it has of the four controllers, and what it does already is left alone") {
    const RootForBases root;
    const std::filesystem::path group = root.layout().root;
    const Fd directory(::open(group.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    // A file takes the place of the kernel's: it shows the text of the last write
    const auto after = [&](const char* has, const char* hands_on) {
        std::ofstream(group / "cgroup.controllers") << has;
        std::ofstream(group / "cgroup.subtree_control") << hands_on;
        hand_on_controllers(directory.get(), "a group of this test");
        return contents_of(group / "cgroup.subtree_control");
    };
    CHECK(after("cpuset memory hugetlb\n", "") == "+memory");
    CHECK(after("cpu io memory pids\n", "cpu io memory pids\n") == "cpu io memory pids\n");
    CHECK(after("cpu pids\n", "pids\n") == "+cpu\n");
    CHECK(after("cpuset hugetlb\n", "") == "");
}

// Paths below `base`, with what is there: a file's contents after "=", a link's after ">", a directory's mode.
std::map<std::string, std::string> tree_of(const std::filesystem::path& base) {
    std::map<std::string, std::string> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(base)) {
        auto& what = out[entry.path().lexically_relative(base).string()];
        if (entry.is_symlink()) {
            what = ">" + std::filesystem::read_symlink(entry.path()).string();
        } else if (entry.is_directory()) {
            what = std::to_string(static_cast<unsigned>(entry.status().permissions()));
        } else {
            what = "=" + contents_of(entry.path());
        }
    }
    return out;
}

std::map<std::string, std::string> tree_of_rows() {
    using Kind = HostBaseRow::Kind;
    std::map<std::string, std::string> out;
    for (const auto& row : host_base_rows()) {
        CHECK_FALSE(row.why.empty());
        const std::string path(row.path);
        const std::string says(row.says);
        if (row.kind == Kind::Directory) {
            out[path] = std::to_string(0755U);
        } else if (row.kind == Kind::Link) {
            out[path] = ">" + says;
        } else if (row.kind == Kind::Text) {
            out[path] = "=" + says;
        } else if (std::filesystem::is_regular_file(says)) {
            out[path] = "=" + contents_of(says);
        }
    }
    return out;
}

TEST_CASE("jobletd: the host base has what its rows say and nothing else") {
    const RootForBases root;
    const auto wanted = tree_of_rows();
    REQUIRE(install_host_base(root.layout()));
    CHECK(tree_of(root.base()) == wanted);
    CHECK(wanted.at("etc/passwd").find("=root:x:0:0:root:/work:/bin/sh\n") == 0);
    CHECK(wanted.at("etc/os-release") == ">../usr/lib/os-release");
    CHECK((std::filesystem::status(root.base()).permissions() & std::filesystem::perms::mask) == std::filesystem::perms(0755));
    CHECK((std::filesystem::status(root.base() / "etc/passwd").permissions() & std::filesystem::perms::mask) ==
          std::filesystem::perms(0644));
}

TEST_CASE("jobletd: the host base is mended at a start where it differs, and left alone where it does not") {
    namespace fs = std::filesystem;
    const RootForBases root;
    const auto wanted = tree_of_rows();
    REQUIRE(install_host_base(root.layout()));
    const fs::path etc = root.base() / "etc";
    const auto inode = [](const fs::path& path) {
        struct stat status{};
        CHECK(::lstat(path.c_str(), &status) == 0);
        return status.st_ino;
    };
    const auto group = inode(etc / "group");
    SUBCASE("a file has other contents") {
        std::ofstream(etc / "hosts") << "x";
    }
    SUBCASE("a file is longer") {
        std::ofstream(etc / "hosts", std::ios::app) << "x";
    }
    SUBCASE("a file is missing") {
        fs::remove(etc / "passwd");
    }
    SUBCASE("a file is a link") {
        fs::remove(etc / "passwd");
        fs::create_symlink("/etc/passwd", etc / "passwd");
    }
    SUBCASE("a file is a directory with something in it") {
        fs::remove(etc / "passwd");
        fs::create_directories(etc / "passwd/below");
    }
    SUBCASE("a file is writable by others") {
        fs::permissions(etc / "passwd", fs::perms::others_write, fs::perm_options::add);
    }
    SUBCASE("a link leads elsewhere") {
        fs::remove(etc / "os-release");
        fs::create_symlink("/etc/shadow", etc / "os-release");
    }
    SUBCASE("a directory is a link") {
        fs::remove_all(etc / "ssl");
        fs::create_symlink("/etc/ssl", etc / "ssl");
    }
    SUBCASE("a directory is writable by others") {
        fs::permissions(etc / "ssl", fs::perms::others_write, fs::perm_options::add);
    }
    SUBCASE("something was added") {
        std::ofstream(etc / "shadow") << "x";
        fs::create_directories(etc / "ssl/certs/mine");
        fs::create_directories(root.base() / "usr/bin");
    }
    SUBCASE("a start was broken off") {
        std::ofstream(root.base() / "unfinished") << "x";
    }
    SUBCASE("nothing") {}
    REQUIRE(install_host_base(root.layout()));
    CHECK(tree_of(root.base()) == wanted);
    CHECK(inode(etc / "group") == group);
}

TEST_CASE("jobletd: a host base that others could change, or that is none, is refused") {
    namespace fs = std::filesystem;
    const RootForBases root;
    SUBCASE("writable by others") {
        REQUIRE(install_host_base(root.layout()));
        fs::permissions(root.base(), fs::perms::others_write, fs::perm_options::add);
    }
    SUBCASE("a link") {
        fs::create_symlink("/", root.base());
    }
    SUBCASE("a file") {
        std::ofstream(root.base()) << "x";
    }
    const auto done = install_host_base(root.layout());
    REQUIRE_FALSE(done);
    CHECK(done.error().find("move it away") != std::string::npos);
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
