// Limits as they are typed: of volumes that are made, that are resized, and of jobs.
#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "cli/arguments.h"
#include "tests/unit/cli_words.h"

using namespace joblet;
using namespace joblet::cli;

namespace {

Words create_with(Words more) {
    Words words = {"volume", "create", "data", "--size=1GB"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

void check_run_refused(const std::string& option, std::string_view message, std::string_view hint) {
    const auto problem = refused({"run", option, "sh"});
    CAPTURE(option);
    CAPTURE(problem.error.message);
    CAPTURE(problem.error.hint);
    CHECK(mentions(problem.error.message, message));
    CHECK(mentions(problem.error.hint, hint));
    CHECK(problem.exit_status == kExitRunFailed);
}

} // namespace

TEST_CASE("a volume has no limits but its size, unless they are asked for") {
    const auto plain = taken<VolumeCreate>(create_with({}));
    CHECK((plain.soft_size_bytes == 0 && plain.soft_inodes == 0));
    CHECK(plain.io == protocol::IoLimits{});
    const auto full = taken<VolumeCreate>(create_with({"--inodes=1000", "--soft-size=800MB", "--soft-inodes", "900", "--read-bps=4KiB",
                                                       "--write-bps", "10MB", "--read-iops=2", "--write-iops=200"}));
    CHECK(full.soft_size_bytes == std::uint64_t{800} << 20U);
    CHECK(full.soft_inodes == 900);
    CHECK(full.io == protocol::IoLimits{.read_bytes = 4096, .write_bytes = 10485760, .read_operations = 2, .write_operations = 200});
    // What the backend gives is not known here
    CHECK(taken<VolumeCreate>(create_with({"--soft-inodes=5000000"})).soft_inodes == 5000000);
    CHECK(taken<VolumeCreate>(create_with({"--soft-size=1MB", "--backend=project-quota"})).soft_size_bytes == 1048576);
    CHECK(taken<VolumeCreate>(create_with({"--read-iops=5", "--backend=image"})).io.read_operations == 5);
}

TEST_CASE("what no host can hold of a volume is refused before a daemon is asked") {
    check_refused({
        {create_with({"--soft-size=1GB"}), "\"1GB\" is not below the hard one, \"1GB\"", "lower --soft-size"},
        {create_with({"--soft-size=1.5GB"}), "\"1.5GB\" is not below", "lower --soft-size"},
        {create_with({"--inodes=100", "--soft-inodes=100"}), "\"100\" is not below", "lower --soft-inodes"},
        {create_with({"--soft-size=1MB", "--type=memory"}), "a soft limit cannot be held of memory", "--type=filesystem"},
        {create_with({"--soft-inodes=5", "--type=memory"}), "a soft limit cannot be held of memory", "--type=filesystem"},
        {create_with({"--soft-size=1MB", "--backend=image"}), "\"image\" cannot hold a soft limit", "--backend=project-quota"},
        {create_with({"--soft-inodes=5", "--backend=btrfs"}), "\"btrfs\" cannot hold a soft limit", "--backend=project-quota"},
        {create_with({"--soft-size=1MB", "--type=memory", "--backend=tmpfs"}), "soft limit", "--soft-size"},
        {create_with({"--read-bps=1MB", "--type=memory"}), "reading and writing cannot be held of memory", "--read-bps"},
        {create_with({"--write-iops=5", "--type=memory", "--backend=tmpfs"}), "reading and writing", "--write-iops"},
    });
}

TEST_CASE("a malformed limit of a volume is refused with the accepted forms") {
    check_refused({
        {create_with({"--soft-size=0"}), "soft size \"0\"", "above zero"},
        {create_with({"--soft-size=none"}), "soft size \"none\"", "a size is"},
        {create_with({"--soft-size="}), "--soft-size needs a value", "usage: rnx volume create"},
        {create_with({"--soft-inodes=0"}), "soft number of inodes \"0\"", "above zero"},
        {create_with({"--soft-inodes=-5"}), "\"-5\"", "whole number"},
        {create_with({"--soft-inodes=18446744073709551616"}), "\"18446744073709551616\"", "whole number"},
        {create_with({"--inodes=18446744073709551615"}), "\"18446744073709551615\"", "whole number"},
        {create_with({"--read-bps=0"}), "rate of reading \"0\"", "above zero"},
        {create_with({"--read-bps=4095"}), "rate of reading \"4095\"", "at least 4.0 KiB"},
        {create_with({"--write-bps=1025TB"}), "rate of writing \"1025TB\"", "at most 1.0 PiB"},
        {create_with({"--write-bps=-1"}), "rate of writing \"-1\"", "a size is"},
        {create_with({"--write-bps=99999999999TB"}), "\"99999999999TB\"", "at most"},
        {create_with({"--read-iops=0"}), "number of reads \"0\"", "whole number"},
        {create_with({"--read-iops=1K"}), "number of reads \"1K\"", "whole number"},
        {create_with({"--write-iops=1.5"}), "number of writes \"1.5\"", "whole number"},
        {create_with({"--write-iops=18446744073709551616"}), "number of writes", "whole number"},
        {create_with({"--write-iops=1125899906842625"}), "number of writes", "whole number"},
    });
}

TEST_CASE("resize changes what is given, and takes soft limits away") {
    const auto size = taken<VolumeResize>({"volume", "resize", "data", "--size=2GB"});
    CHECK(size.name == "data");
    CHECK(size.size_bytes == std::uint64_t{2} << 30U);
    CHECK((size.inodes == 0 && size.soft_size_bytes == 0 && size.soft_inodes == 0));
    const auto all =
        taken<VolumeResize>({"volume", "resize", "--inodes", "100", "data", "--soft-size=1MB", "--soft-inodes=99", "--size=2MB"});
    CHECK((all.size_bytes == 2097152 && all.inodes == 100 && all.soft_size_bytes == 1048576 && all.soft_inodes == 99));
    const auto none =
        taken<VolumeResize>({"volume", "resize", "data", "--soft-size=none", "--soft-inodes", "none", "--size=1MB", "--inodes=1"});
    CHECK((none.soft_size_bytes == kNoSoftLimit && none.soft_inodes == kNoSoftLimit));
    // Against which limit it counts only the daemon knows
    CHECK(taken<VolumeResize>({"volume", "resize", "data", "--soft-size=9TB"}).soft_size_bytes == std::uint64_t{9} << 40U);
}

TEST_CASE("a resize that changes nothing or makes no sense is refused") {
    check_refused({
        {{"volume", "resize", "data"}, "nothing is given that shall change", "--size, --inodes, --soft-size or --soft-inodes"},
        {{"volume", "resize", "--size=1MB"}, "NAME", "usage: rnx volume resize"},
        {{"volume", "resize", "a/b", "--size=1MB"}, "\"a/b\"", "1 to 63 characters"},
        {{"volume", "resize", "data", "b", "--size=1MB"}, "b", "usage: rnx volume resize"},
        {{"volume", "resize", "data", "--size=none"}, "size \"none\"", "a size is"},
        {{"volume", "resize", "data", "--size=0"}, "size \"0\"", "above zero"},
        {{"volume", "resize", "data", "--inodes=0"}, "inodes \"0\"", "above zero"},
        {{"volume", "resize", "data", "--soft-size=0"}, "soft size \"0\"", "above zero"},
        {{"volume", "resize", "data", "--soft-inodes=None"}, "\"None\"", "whole number"},
        {{"volume", "resize", "data", "--soft-inodes=18446744073709551615"}, "\"18446744073709551615\"", "whole number"},
        {{"volume", "resize", "data", "--size=1MB", "--soft-size=1MB"}, "not below", "lower --soft-size"},
        {{"volume", "resize", "data", "--inodes=5", "--soft-inodes=6"}, "not below", "lower --soft-inodes"},
        {{"volume", "resize", "data", "--size=1MB", "--all-users"}, "--all-users", "usage: rnx volume resize"},
    });
}

TEST_CASE("usage is of all volumes or of those named, in a scope") {
    CHECK(taken<VolumeUsage>({"volume", "usage"}).names.empty());
    const auto named = taken<VolumeUsage>({"volume", "usage", "a", "b", "--user=1000"});
    CHECK(named.names == Words{"a", "b"});
    CHECK((named.scope.kind == Scope::Kind::User && named.scope.uid == 1000));
    CHECK(taken<VolumeUsage>({"volume", "usage", "--all-users"}).scope.kind == Scope::Kind::Everybody);
    check_refused({{{"volume", "usage", "a/b"}, "\"a/b\"", "1 to 63 characters"}});
}

TEST_CASE("doctor takes nothing of its own") {
    CHECK_NOTHROW(taken<Doctor>({"doctor", "--format=json"}));
    check_refused({{{"doctor", "now"}, "now", "usage: rnx doctor"}});
}

TEST_CASE("a job has the limits that were asked, and otherwise those of the daemon") {
    CHECK(taken<Run>({"run", "sh"}).limits == JobLimits{});
    const auto run = taken<Run>({"run", "--memory=512MB", "--swap", "1GB", "--pids=100", "--cpus", "1.5", "--read-bps=1MB",
                                 "--write-bps=4096", "--read-iops=7", "--write-iops", "8", "sh", "--memory=1"});
    CHECK(run.limits.memory_bytes == std::uint64_t{512} << 20U);
    CHECK(run.limits.swap_bytes == std::uint64_t{1} << 30U);
    CHECK(run.limits.processes == 100);
    CHECK(run.limits.cpu_milli == 1500);
    CHECK(run.limits.io == protocol::IoLimits{.read_bytes = 1048576, .write_bytes = 4096, .read_operations = 7, .write_operations = 8});
    CHECK(run.command == Words{"sh", "--memory=1"});
    CHECK(taken<Run>({"run", "--memory=4MiB", "sh"}).limits.memory_bytes == 4194304);
    CHECK(taken<Run>({"run", "--pids=2", "sh"}).limits.processes == 2);
}

TEST_CASE("CPUs are taken to the thousandth") {
    for (const auto& [text, milli] : std::vector<std::pair<std::string, std::uint64_t>>{{"1", 1000},
                                                                                        {"2.0", 2000},
                                                                                        {"0.01", 10},
                                                                                        {"0.25", 250},
                                                                                        {"1.5", 1500},
                                                                                        {"3.125", 3125},
                                                                                        {"01.50", 1500},
                                                                                        {"1000", 1000000},
                                                                                        {"1000.000", 1000000}}) {
        CAPTURE(text);
        CHECK(taken<Run>({"run", "--cpus=" + text, "sh"}).limits.cpu_milli == milli);
    }
    for (const std::string text : {"0",
                                   "0.009",
                                   "-1",
                                   "+1",
                                   "nan",
                                   "NaN",
                                   "inf",
                                   "1e3",
                                   "0x2",
                                   "1.",
                                   ".5",
                                   ".",
                                   "1.2345",
                                   "1.0000",
                                   "1,5",
                                   "1.5 ",
                                   " 1",
                                   "1.-5",
                                   "1.5.0",
                                   "1000.001",
                                   "1001",
                                   "18446744073709551616",
                                   "99999999999999999999.5",
                                   "many"}) {
        CAPTURE(text);
        check_run_refused("--cpus=" + text, "number of CPUs \"" + text + "\"", "at most three decimal places");
    }
}

TEST_CASE("a limit of a job that makes no sense is refused, with the status of run") {
    check_run_refused("--memory=0", "memory \"0\"", "above zero");
    check_run_refused("--memory=4095KB", "memory \"4095KB\"", "at least 4.0 MiB");
    check_run_refused("--memory=-1", "memory \"-1\"", "a size is");
    check_run_refused("--memory=99999999999TB", "\"99999999999TB\"", "at most");
    check_run_refused("--memory=", "--memory needs a value", "usage: rnx run");
    check_run_refused("--swap=0", "swap \"0\"", "above zero");
    check_run_refused("--swap=-1", "swap \"-1\"", "a size is");
    check_run_refused("--pids=0", "processes \"0\"", "at least 2");
    check_run_refused("--pids=1", "processes \"1\"", "at least 2");
    check_run_refused("--pids=-1", "processes \"-1\"", "at least 2");
    check_run_refused("--pids=4194305", "processes", "at most 4194304");
    check_run_refused("--pids=18446744073709551618", "processes", "at most 4194304");
    check_run_refused("--read-bps=4095", "rate of reading", "at least 4.0 KiB");
    check_run_refused("--write-bps=much", "rate of writing \"much\"", "a size is");
    check_run_refused("--read-iops=0", "number of reads", "whole number");
    check_run_refused("--write-iops=1MB", "number of writes", "whole number");
}
