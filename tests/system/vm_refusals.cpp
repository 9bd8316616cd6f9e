// A kernel and file systems that lack something: booted with cgroup_disable=memory, mounted without quotas. Refused by name, never
// dropped, and what was not asked for goes on.
#include <doctest/doctest.h>

#include <filesystem>
#include <stdexcept>

#include "tests/system/vm_parts.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("vm_refusals");

namespace {

// What jobletd said when it did not start; empty if it did.
std::string refusal(const Installation::Options& options) {
    try {
        const Installation here(options);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return {};
}

// The root group passes no controller on, as on a machine where nobody has asked for it.
void disable_controllers() {
    for (const char* const controller : {"-cpu", "-io", "-memory", "-pids"}) {
        write_file("/sys/fs/cgroup/cgroup.subtree_control", controller);
    }
    REQUIRE(read_file("/sys/fs/cgroup/cgroup.subtree_control").find("pids") == std::string::npos);
}

} // namespace

TEST_CASE("without the memory controller: asked for or given it is refused, and jobs that want no limit run") {
    REQUIRE(read_file("/sys/fs/cgroup/cgroup.controllers").find("memory") == std::string::npos); // this boot is for it
    {
        const Installation here(vm_options(StoreMount::Kind::None));
        for (const char* const option : {"--memory=64MiB", "--swap=1MiB"}) {
            CAPTURE(option);
            const auto refused = here.shell({option}, "echo not reached");
            CHECK(refused.status == 125);
            CHECK(refused.out.empty());
            CHECK_MESSAGE(says(refused, "memory"), refused.err);
        }
        CHECK(here.shell({"--pids=20"}, "echo runs").out == "runs\n");
        const json report = doctor(here);
        CHECK(!check_ok(report, "controller memory"));
        CHECK(check_ok(report, "controller pids"));
        CHECK(check_ok(report, "controller io"));
        CHECK(report["differences"].empty());
    }
    {
        const Installation here(vm_options(StoreMount::Kind::None, "[jobs]\nmemory = \"64MiB\"\n"));
        const auto refused = here.shell({}, "echo not reached");
        CHECK(refused.status == 125);
        CHECK(refused.out.empty());
        CHECK_MESSAGE(says(refused, "memory"), refused.err);
    }
    CHECK(refusal(vm_options(StoreMount::Kind::None, "[cgroups]\nrequire_controllers = [\"memory\", \"io\"]\n")).find("memory") !=
          std::string::npos);
    CHECK(refusal(vm_options(StoreMount::Kind::None, "[cgroups]\nrequire_controllers = [\"pids\", \"io\"]\n")).empty());
}

TEST_CASE("without --enable-controllers the root group is left alone, and what it does not pass on is refused") {
    disable_controllers();
    Installation::Options options = vm_options(StoreMount::Kind::None);
    options.arguments.clear();
    {
        const Installation here(options);
        const auto refused = here.shell({"--pids=20"}, "echo not reached");
        CHECK(refused.status == 125);
        CHECK_MESSAGE(says(refused, "pids"), refused.err);
        CHECK(here.shell({}, "echo runs").out == "runs\n");
        CHECK(!check_ok(doctor(here), "controller pids"));
        CHECK(read_file("/sys/fs/cgroup/cgroup.subtree_control").find("pids") == std::string::npos);
    }
    options.broker_toml = "[cgroups]\nrequire_controllers = [\"pids\"]\n";
    CHECK(refusal(options).find("--enable-controllers") != std::string::npos);
}

TEST_CASE("a file system that does not hold projects to their limits is not taken for one that does") {
    for (const auto kind : {StoreMount::Kind::XfsWithoutQuota, StoreMount::Kind::XfsUnenforced, StoreMount::Kind::Ext4Unenforced}) {
        CAPTURE(static_cast<int>(kind));
        const Installation here(vm_options(kind));
        const auto refused = here.run_rnx({"volume", "create", "data", "--size=4MiB", "--backend=project-quota"});
        CHECK(refused.status == 1);
        CHECK_MESSAGE(says(refused, "prjquota"), refused.err);
        CHECK(here.json_of({"volume", "list"}).empty());
        for (const char* const option : {"--soft-size=2MiB", "--soft-inodes=10"}) {
            CHECK(here.run_rnx({"volume", "create", "data", "--size=4MiB", option}).status == 1);
        }
        here.create("data", "4MiB");
        CHECK(here.json_of({"volume", "inspect", "data"})["backend"] == "image");
        const json report = doctor(here);
        CHECK(!check_ok(report, "backend project-quota"));
        CHECK(check_ok(report, "backend image"));
        CHECK_MESSAGE(report["differences"].empty(), report["differences"].dump());
    }
}

// The last one: it takes the second disk away.
TEST_CASE("a disk that vanishes under the store: what needs it is refused with a reason, records and daemons stay") {
    const Installation here(vm_options(StoreMount::Kind::XfsQuota, {}, "/dev/vdb"));
    here.create("data", "8MiB");
    REQUIRE(here.shell({"-v", "data", "--write-bps=1MiB"}, "echo runs").out == "runs\n");
    write_file("/sys/block/vdb/device/../remove", "1");
    REQUIRE(becomes_true([] { return !std::filesystem::exists("/sys/block/vdb"); }));
    const auto job = here.shell({"-v", "data", "--write-bps=1MiB"}, "echo not reached");
    CHECK(job.status == 125);
    CHECK(job.out.empty());
    CHECK_MESSAGE(says(job, "the state of the volume is unknown"), job.err); // and an operator is to look
    const auto created = here.run_rnx({"volume", "create", "other", "--size=8MiB"});
    CHECK(created.status == 1);
    CHECK_MESSAGE(says(created, "could not"), created.err);
    const auto resized = here.run_rnx({"volume", "resize", "data", "--size=16MiB"});
    CHECK(resized.status == 1);
    CHECK_MESSAGE(says(resized, "could not"), resized.err);
    const json volumes = here.json_of({"volume", "list"});
    CHECK(volumes.size() == 1);
    CHECK(volumes[0]["size_bytes"] == 8 * kMiB);
}

TEST_SUITE_END();

} // namespace joblet::testing
