// The text that limits are written as. A directory with files of the kernel's names stands for a group: what is written stays there
// to be read, by the code under test as by the test.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "broker-root/kernel/cgroup.h"
#include "broker-root/kernel/cgroup_limits.h"
#include "shared/fd.h"

using namespace joblet;
using namespace joblet::kernel;

namespace {

class Group {
  public:
    Group() {
        std::string path = std::filesystem::temp_directory_path() / "cgroup-limits-XXXXXX";
        REQUIRE(::mkdtemp(path.data()) != nullptr);
        path_ = path;
        directory_ = Fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(directory_.valid());
    }
    ~Group() {
        std::filesystem::remove_all(path_);
    }
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;
    Group(Group&&) = delete;
    Group& operator=(Group&&) = delete;

    // As the kernel has it before anybody writes.
    const Group& has(std::string_view name, std::string_view text = "") const {
        std::ofstream(path_ / name, std::ios::trunc) << text;
        return *this;
    }
    [[nodiscard]] std::string said(std::string_view name) const {
        std::ifstream file(path_ / name);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    [[nodiscard]] int fd() const {
        return directory_.get();
    }

  private:
    std::filesystem::path path_;
    Fd directory_;
};

int error_of(const auto& result) {
    return result ? 0 : result.error();
}

} // namespace

TEST_CASE("controllers are read by their whole names, others are passed over") {
    const Group group;
    CHECK(error_of(available_controllers(group.fd())) == ENOENT);
    group.has("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n").has("cgroup.subtree_control", "\n");
    CHECK(available_controllers(group.fd()) == protocol::kControllersAll);
    CHECK(enabled_controllers(group.fd()) == 0U);
    group.has("cgroup.subtree_control", "cpuset ios memory\n");
    CHECK(enabled_controllers(group.fd()) == protocol::kControllerMemory);
    group.has("cgroup.subtree_control", "pids");
    CHECK(enabled_controllers(group.fd()) == protocol::kControllerPids);
}

TEST_CASE("a controller is enabled by one word") {
    const Group group;
    CHECK(error_of(enable_controller(group.fd(), protocol::kControllerIo)) == ENOENT);
    for (const auto& [bit, word] : {std::pair(protocol::kControllerCpu, "+cpu"), std::pair(protocol::kControllerIo, "+io"),
                                    std::pair(protocol::kControllerMemory, "+memory"), std::pair(protocol::kControllerPids, "+pids")}) {
        group.has("cgroup.subtree_control");
        CHECK(enable_controller(group.fd(), bit).has_value());
        CHECK(group.said("cgroup.subtree_control") == word);
    }
    CHECK(error_of(enable_controller(group.fd(), protocol::kControllerCpu | protocol::kControllerIo)) == EINVAL);
    CHECK(error_of(enable_controller(group.fd(), 0)) == EINVAL);
}

TEST_CASE("memory, swap and processes are plain digits, and what the kernel holds comes back") {
    const Group group;
    group.has("memory.max").has("memory.swap.max").has("pids.max");
    CHECK(set_memory_max(group.fd(), 1ULL << 30U) == 1ULL << 30U);
    CHECK(group.said("memory.max") == "1073741824");
    CHECK(memory_max(group.fd()) == 1ULL << 30U);
    CHECK(set_swap_max(group.fd(), 0) == 0U);
    CHECK(group.said("memory.swap.max") == "0");
    CHECK(set_pids_max(group.fd(), 64).has_value());
    CHECK(group.said("pids.max") == "64");
    CHECK(pids_max(group.fd()) == 64U);

    CHECK(error_of(set_memory_max(group.fd(), 0)) == EINVAL);
    CHECK(error_of(set_pids_max(group.fd(), 0)) == EINVAL);
    CHECK(group.said("pids.max") == "64");
}

TEST_CASE("no limit, and what is no number") {
    const Group group;
    group.has("memory.max", "max\n").has("pids.max", "12\n");
    CHECK(memory_max(group.fd()) == kNoLimit);
    CHECK(pids_max(group.fd()) == 12U);
    for (const char* const text : {"", "\n", "12k\n", "-1\n", " 12\n", "12\n13\n", "18446744073709551616\n"}) {
        group.has("pids.max", text);
        CHECK_MESSAGE(error_of(pids_max(group.fd())) == EBADMSG, text);
    }
}

TEST_CASE("a limit that the kernel does not hold is an error") {
    const Group group;
    // Nothing shortens the file: what was there stays behind the new text, and so more is held than was asked
    group.has("memory.max", "99999999").has("pids.max", "9999999");
    CHECK(error_of(set_memory_max(group.fd(), 4096)) == EOVERFLOW);
    CHECK(error_of(set_pids_max(group.fd(), 100)) == EOVERFLOW);
    CHECK(error_of(set_memory_max(group.fd(), 4096)) == EOVERFLOW);
    group.has("io.max", "8:0 rbps=max wbps=max riops=max wiops=max\n8:0 rbps=4096 wbps=max riops=max wiops=max\n");
    CHECK(error_of(set_io_max(group.fd(), {7, 0}, {.write_bytes = 8192})) == EOVERFLOW);
}

TEST_CASE("without the controller there is nothing to write to") {
    const Group group;
    CHECK(error_of(set_memory_max(group.fd(), 4096)) == ENOENT);
    CHECK(error_of(set_swap_max(group.fd(), 0)) == ENOENT);
    CHECK(error_of(set_pids_max(group.fd(), 1)) == ENOENT);
    CHECK(error_of(set_cpu_max(group.fd(), 1000)) == ENOENT);
    CHECK(error_of(set_io_max(group.fd(), {8, 0}, {.read_bytes = 4096})) == ENOENT);
}

TEST_CASE("CPU is microseconds of every tenth of a second") {
    const Group group;
    for (const auto& [milli, text] : {std::pair<std::uint64_t, const char*>(1000, "100000 100000"),
                                      {2500, "250000 100000"},
                                      {10, "1000 100000"},
                                      {UINT64_MAX / 100, "18446744073709551600 100000"}}) {
        group.has("cpu.max");
        CHECK(set_cpu_max(group.fd(), milli).has_value());
        CHECK(group.said("cpu.max") == text);
    }
    CHECK(error_of(set_cpu_max(group.fd(), 0)) == EINVAL);
    CHECK(error_of(set_cpu_max(group.fd(), UINT64_MAX / 100 + 1)) == EINVAL);
}

TEST_CASE("limits of a device are all four, and never a zero") {
    const Group group;
    group.has("io.max");
    CHECK(set_io_max(group.fd(), {8, 16}, {.read_bytes = 1048576, .write_operations = 120}).has_value());
    CHECK(group.said("io.max") == "8:16 rbps=1048576 wbps=max riops=max wiops=120");

    group.has("io.max");
    CHECK(set_io_max(group.fd(), {259, 1048575},
                     {.read_bytes = UINT64_MAX, .write_bytes = 1, .read_operations = UINT64_MAX, .write_operations = 1ULL << 32U})
              .has_value());
    CHECK(group.said("io.max") == "259:1048575 rbps=18446744073709551614 wbps=1 riops=4294967294 wiops=4294967294");

    group.has("io.max");
    CHECK(set_io_max(group.fd(), {7, 3}, {}).has_value());
    CHECK(group.said("io.max") == "7:3 rbps=max wbps=max riops=max wiops=max");
}

TEST_CASE("a group whose memory runs out ends as a whole, or it is an error") {
    const Group group;
    CHECK(end_together(group.fd()).error() == ENOENT);
    group.has("memory.oom.group", "0\n");
    CHECK(end_together(group.fd()).has_value());
    CHECK(group.said("memory.oom.group").starts_with("1"));
}

TEST_CASE("case_40: a group is made anew for each job, and one that is there already is an error") {
    const Group parent;
    CHECK(make_cgroup(parent.fd(), "0123"));
    CHECK(error_of(make_cgroup(parent.fd(), "0123")) == EEXIST);
    CHECK(make_cgroup(parent.fd(), "4567"));
}
