// What this host can hold, asked of rnx doctor; limits of jobs that it cannot hold are refused by name; and what store, records and
// kernel disagree about is found.
#include <doctest/doctest.h>

#include <csignal>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include <fmt/format.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("doctor");

namespace {

Installation::Options with(const std::string& broker_toml) {
    Installation::Options options;
    options.broker_toml = broker_toml;
    return options;
}

bool says(const Outcome& outcome, std::string_view word) {
    return outcome.err.find(word) != std::string::npos || outcome.out.find(word) != std::string::npos;
}

json report_of(const Installation& here, uid_t uid = 0) {
    const auto outcome = here.run_rnx({"doctor", "--format=json"}, uid);
    REQUIRE_MESSAGE((outcome.status == 0 || outcome.status == 1), outcome.err);
    return json::parse(outcome.out);
}

json check_of(const json& report, const std::string& subject) {
    const auto found = std::ranges::find_if(report["checks"], [&subject](const json& one) { return one["subject"] == subject; });
    REQUIRE_MESSAGE(found != report["checks"].end(), subject);
    return *found;
}

bool differs(const json& report, const std::string& word) {
    return std::ranges::any_of(report["differences"],
                               [&word](const json& one) { return one.get<std::string>().find(word) != std::string::npos; });
}

} // namespace

TEST_CASE("a new installation has no differences; what is missing is said with what is lost and how to get it") {
    const Installation here;
    here.create("data", "1MiB", "filesystem", kAlice);
    const auto outcome = here.run_rnx({"doctor"});
    CHECK_MESSAGE(outcome.status == 0, outcome.out);
    const json report = report_of(here);
    CHECK(report["compared"] == true);
    CHECK(report["differences"].empty());
    CHECK(check_of(report, "backend image")["ok"] == true);
    CHECK(check_of(report, "backend tmpfs")["ok"] == true);
    CHECK(check_of(report, "kernel")["ok"] == true);
    CHECK(check_of(report, "idmap ext4 in images")["ok"] == true);
    for (const char* const daemon : {"joblet-broker", "joblet-worker", "joblet-spawner", "joblet-api"}) {
        CHECK(check_of(report, fmt::format("filter of {}", daemon))["ok"] == true);
    }
    for (const auto& check : report["checks"]) {
        CAPTURE(check.dump());
        CHECK(!check["detail"].get<std::string>().empty());
        CHECK((check["ok"] == true || (!check["lost"].get<std::string>().empty() && !check["remedy"].get<std::string>().empty())));
    }
    // nothing of the trials is left
    CHECK(std::filesystem::is_empty(here.state() + "/staging"));
    CHECK(becomes_true([&here] { return std::filesystem::is_empty(here.state() + "/trash"); }));
    CHECK(here.job_groups().empty());
    CHECK(here.json_of({"job", "list", "--all-users"}).empty());
}

TEST_CASE("others than admins see what the host can do, and no ids") {
    const Installation here;
    std::filesystem::create_directory(here.state() + "/volumes/" + std::string(32, 'a'));
    const json report = report_of(here, kAlice);
    CHECK(report["compared"] == false);
    CHECK(report["differences"].empty());
    CHECK(check_of(report, "backend image")["ok"] == true);
    std::filesystem::remove(here.state() + "/volumes/" + std::string(32, 'a'));
}

TEST_CASE("each difference between store, records and kernel is found, and makes the exit status 1") {
    const Installation here;
    here.create("gone", "1MiB", "memory");
    here.create("damaged");
    here.create("held");
    const std::string gone = here.json_of({"volume", "inspect", "gone"})["id"];
    const std::string damaged = here.json_of({"volume", "inspect", "damaged"})["id"];
    const std::string held = here.json_of({"volume", "inspect", "held"})["id"];
    REQUIRE(report_of(here)["differences"].empty());

    const std::string a(32, 'a');
    const std::string b(32, 'b');
    const std::string c(32, 'c');
    const std::string d(32, 'd');
    const std::string e(32, 'e');
    namespace fs = std::filesystem;
    fs::create_directory(here.state() + "/volumes/" + a);
    fs::create_directory(here.state() + "/trash/" + b);
    fs::create_directory(here.state() + "/staging/" + c);
    fs::create_directory(here.root() + "/opt/joblet/jobs/" + d);
    fs::create_directory(here.cgroup() + "/jobs/" + e);
    fs::rename(here.state() + "/volumes/" + gone, here.root() + "/moved");
    fs::rename(here.state() + "/volumes/" + damaged + "/image", here.root() + "/image");
    const auto loop = run({{"/usr/sbin/losetup", "--find", "--show", here.state() + "/volumes/" + held + "/image"}});
    REQUIRE(loop.status == 0);
    const auto locked = run({{"/usr/bin/flock", "--nonblock", here.state() + "/volumes/" + held + "/image", "true"}});
    const auto outcome = here.run_rnx({"doctor"});
    CHECK(outcome.status == 1);
    const json report = report_of(here);
    for (const auto& id : {a, b, c, d, e, gone, damaged}) {
        CAPTURE(id);
        CHECK_MESSAGE(differs(report, id), report.dump(2));
        CHECK(says(outcome, id));
    }
    // a loop device that does not lock the file is no attachment of ours
    CHECK(locked.status == 0);
    run({{"/usr/sbin/losetup", "--detach", loop.out.substr(0, loop.out.find('\n'))}});
    fs::remove(here.state() + "/volumes/" + a);
    fs::remove(here.state() + "/trash/" + b);
    fs::remove(here.state() + "/staging/" + c);
    fs::remove(here.root() + "/opt/joblet/jobs/" + d);
    fs::remove(here.cgroup() + "/jobs/" + e);
    fs::rename(here.root() + "/moved", here.state() + "/volumes/" + gone);
    fs::rename(here.root() + "/image", here.state() + "/volumes/" + damaged + "/image");
    CHECK_MESSAGE(report_of(here)["differences"].empty(), report_of(here).dump(2));
}

TEST_CASE("a volume that was unmounted in a running job behind our back is found") {
    const Installation here;
    here.create("data");
    here.create("other", "1MiB", "memory");
    const std::string data = here.json_of({"volume", "inspect", "data"})["id"];
    Process job(here.shell_command({"-v", "data", "-v", "other"}, "echo started; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    REQUIRE(report_of(here)["differences"].empty());
    const auto group = here.job_groups().front();
    std::istringstream processes(read_file(here.cgroup() + "/jobs/" + group + "/cgroup.procs"));
    pid_t pid = 0;
    processes >> pid;
    REQUIRE(pid > 0);
    const auto unmounted = run({{"/usr/bin/nsenter", fmt::format("--mount=/proc/{}/ns/mnt", pid), "umount", "/volumes/data"}});
    REQUIRE_MESSAGE(unmounted.status == 0, unmounted.err);
    const json report = report_of(here);
    CHECK_MESSAGE(differs(report, data), report.dump(2));
    CHECK(report["differences"].size() == 1);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
}

TEST_CASE("an image that somebody else holds, and running and ended jobs: the first is a difference, the others are none") {
    const Installation here;
    here.create("held");
    here.create("used");
    const std::string held = here.json_of({"volume", "inspect", "held"})["id"];
    Process job(here.shell_command({"-v", "used"}, "echo started; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    REQUIRE(here.run_rnx({"run", "-d", "--name", "over", "--", "true"}).status == 0);
    REQUIRE(here.run_rnx({"job", "wait", "over"}).status == 0);
    CHECK_MESSAGE(report_of(here)["differences"].empty(), report_of(here).dump(2));
    Process holder({{"/usr/bin/flock", "--shared", here.state() + "/volumes/" + held + "/image", "sh", "-c", "echo locked; sleep 30"}});
    REQUIRE(holder.wait_for_output("locked"));
    const json report = report_of(here);
    CHECK_MESSAGE(differs(report, held), report.dump(2));
    CHECK(report["differences"].size() == 1);
    holder.signal(SIGTERM);
    (void)holder.wait();
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
}

TEST_CASE("a limit of a job is held, or refused by the name of the controller that is missing") {
    const Installation here;
    here.create("data");
    const json report = report_of(here);
    struct Row {
        const char* option;
        const char* controller;
    };
    for (const auto& [option, controller] :
         {Row{"--memory=64MiB", "memory"}, Row{"--swap=1MiB", "memory"}, Row{"--pids=50", "pids"}, Row{"--cpus=0.5", "cpu"},
          Row{"--read-bps=1MiB", "io"}, Row{"--write-bps=1MiB", "io"}, Row{"--read-iops=100", "io"}, Row{"--write-iops=100", "io"}}) {
        CAPTURE(option);
        const auto ran = here.shell({"-v", "data", option}, "echo ran");
        const auto dry = here.run_rnx({"run", "--dry-run", "-v", "data", option, "--", "true"});
        if (check_of(report, fmt::format("controller {}", controller))["ok"] == true) {
            CHECK_MESSAGE(ran.out == "ran\n", ran.err);
            CHECK(dry.status == 0);
        } else {
            CHECK(ran.status == 125);
            CHECK_MESSAGE(says(ran, controller), ran.err);
            CHECK(dry.status == 125);
        }
    }
    CHECK(here.shell({"-v", "data"}, "echo ran").out == "ran\n");
    CHECK(becomes_true([&here] { return here.job_groups().empty(); }));
}

TEST_CASE("what broker.toml gives counts as asked for, and what it requires must be there") {
    json report;
    {
        const Installation here(with("[jobs]\nmemory = \"256MiB\"\n"));
        report = report_of(here);
        const auto ran = here.shell({}, "echo ran");
        if (check_of(report, "controller memory")["ok"] == true) {
            CHECK_MESSAGE(ran.out == "ran\n", ran.err);
        } else {
            CHECK(ran.status == 125);
            CHECK_MESSAGE(says(ran, "memory"), ran.err);
        }
    }
    for (const char* const controller : {"cpu", "io", "memory", "pids"}) {
        CAPTURE(controller);
        const bool has = check_of(report, fmt::format("controller {}", controller))["ok"];
        std::string refused;
        try {
            const Installation here(with(fmt::format("[cgroups]\nrequire_controllers = [\"{}\"]\n", controller)));
        } catch (const std::runtime_error& error) {
            refused = error.what();
        }
        CHECK(refused.empty() == has);
        CHECK((has || refused.find("--enable-controllers") != std::string::npos));
    }
}

TEST_SUITE_END();

} // namespace joblet::testing
