// Volumes held by project quotas, on XFS and on ext4 (JOBLET_TEST_STORE): what the kernel holds, counts and lets go.
#include <doctest/doctest.h>

#include <csignal>
#include <cstdlib>

#include <set>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "tests/guest/expectations.h"
#include "tests/system/vm_parts.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("vm_quota");

namespace {

// For scripts: `await` goes on when the job gets SIGUSR1.
constexpr auto kAwaitSignal = "trap 'go=1' USR1; await() { go=; until [ -n \"$go\" ]; do sleep 0.1; done; }; ";

// A job of `uid` that writes so much into the volume, and says "fits" if it could.
Outcome fill(const Installation& here, const std::string& volume, const std::string& file, int mib, uid_t uid = 0) {
    return here.shell({"-v", volume + ":/data"},
                      fmt::format("dd if=/dev/zero of=/data/{} bs=64k count={} 2>&1 && sync && echo fits", file, mib * 16), uid);
}

// A number of the volume's usage is what was asked for, as far as file systems are exact.
void check_usage(const Installation& here, const std::string& volume, const std::string& field, std::uint64_t asked, uid_t uid = 0) {
    const json usage = usage_of(here, volume, uid);
    const std::uint64_t value = usage[field];
    CHECK_MESSAGE((field.ends_with("inodes") ? is_about_inodes(value, asked) : is_about(value, asked)), usage.dump());
}

bool is_full(const Outcome& outcome) {
    return outcome.status != 0 && (says(outcome, "uota exceeded") || says(outcome, "No space left"));
}

} // namespace

TEST_CASE("auto takes project quotas; what was asked for can be written, and not a block more, by uid 0 of the job neither") {
    const Installation here(vm_options(quota_kind()));
    here.create("data", "8MiB", "filesystem", kAlice);
    CHECK(here.json_of({"volume", "inspect", "data"}, kAlice)["backend"] == "project-quota");
    const std::uint32_t project = project_of(here, id_of(here, "data", kAlice));
    CHECK(project >= 0x4A000000U);
    CHECK(project <= 0x4AFFFFFFU);
    const auto fits = fill(here, "data", "f", 7, kAlice);
    CHECK_MESSAGE(fits.out.ends_with("fits\n"), fits.out);
    const auto beyond = here.shell({"-v", "data:/data"}, "id -u; dd if=/dev/zero of=/data/g bs=64k count=64 2>&1 && sync", kAlice);
    CHECK_MESSAGE(is_full(beyond), beyond.out);
    CHECK(beyond.out.starts_with("0\n"));
    const json usage = usage_of(here, "data", kAlice);
    CHECK(usage["used_bytes"] >= 7 * kMiB);
    CHECK(usage["used_bytes"] <= usage["size_bytes"]);
    CHECK_MESSAGE(is_about(usage["size_bytes"], 8 * kMiB), usage.dump());
    CHECK(usage["soft_size_bytes"].is_null());
    CHECK(usage["grace_ends"].is_null());
    const auto row = quota_row(here, project);
    CHECK(is_about(row.hard_kib * 1024, 8 * kMiB));
    CHECK(row.used_kib * 1024 == usage["used_bytes"].get<std::uint64_t>());

    // The limit is there when no daemon of ours is, and after all of them were started anew
    Process job(here.shell_command({"-v", "data:/data"},
                                   std::string(kAwaitSignal) + "rm /data/g; echo started; await; "
                                                               "dd if=/dev/zero of=/data/h bs=64k count=64 2>&1; echo $?; sync",
                                   kAlice));
    REQUIRE(job.wait_for_output("started"));
    here.kill_daemons("joblet-broker");
    job.signal(SIGUSR1);
    const auto held = job.wait();
    CHECK_MESSAGE((says(held, "uota exceeded") || says(held, "No space left")), held.out);
    CHECK(usage_of(here, "data", kAlice)["used_bytes"] <= usage["size_bytes"]);

    // A volume full of files goes as fast as an empty one, and its quota with it
    const auto many =
        here.shell({"-v", "data:/data"}, "rm /data/*; i=0; while [ $i -lt 300 ]; do echo $i >/data/$i || exit 1; i=$((i+1)); done", kAlice);
    CHECK_MESSAGE(many.status == 0, many.err);
    check_usage(here, "data", "used_inodes", 300, kAlice);
    REQUIRE(here.run_rnx({"volume", "remove", "--now", "--wait", "data"}, kAlice).status == 0);
    CHECK(becomes_true([&] {
        const auto after = quota_row(here, project);
        return after.used_kib == 0 && after.hard_kib == 0 && after.used_inodes == 0;
    }));
    here.create("data", "4MiB", "filesystem", kAlice);
    const json fresh = usage_of(here, "data", kAlice);
    CHECK_MESSAGE(is_about(fresh["used_bytes"], 0), fresh.dump());
    CHECK_MESSAGE(is_about_inodes(fresh["used_inodes"], 0), fresh.dump());
    CHECK_MESSAGE(is_about(fresh["size_bytes"], 4 * kMiB), fresh.dump());
    CHECK_MESSAGE(fill(here, "data", "f", 3, kAlice).out.ends_with("fits\n"), "of the new one");
    CHECK(is_full(fill(here, "data", "g", 2, kAlice)));
}

TEST_CASE("inodes are held; a soft limit may be passed for the time of grace, which usage shows, and holds after it") {
    const Installation here(vm_options(quota_kind()));
    REQUIRE(here.run_rnx({"volume", "create", "few", "--size=8MiB", "--inodes=20"}).status == 0);
    const auto made =
        here.shell({"-v", "few:/data"}, "i=0; while echo >/data/$i; do i=$((i+1)); [ $i -lt 100 ] || break; done; echo made $i");
    CHECK_MESSAGE(made.out.ends_with("made 20\n"), made.out, made.err);
    const json usage = usage_of(here, "few");
    CHECK_MESSAGE(is_about_inodes(usage["used_inodes"], 20), usage.dump());
    CHECK_MESSAGE(is_about_inodes(usage["inodes"], 20), usage.dump());

    REQUIRE(here.run_rnx({"volume", "create", "soft", "--size=8MiB", "--soft-size=2MiB", "--inodes=100", "--soft-inodes=10"}).status == 0);
    REQUIRE(here.shell({"-v", "soft:/data"}, "dd if=/dev/zero of=/data/f bs=64k count=16 2>/dev/null").status == 0);
    check_usage(here, "soft", "soft_size_bytes", 2 * kMiB);
    check_usage(here, "soft", "soft_inodes", 10);
    CHECK(usage_of(here, "soft")["grace_ends"].is_null());
    REQUIRE(here.shell({"-v", "soft:/data"}, "dd if=/dev/zero of=/data/g bs=64k count=48 2>/dev/null && sync").status == 0);
    check_usage(here, "soft", "used_bytes", 4 * kMiB);
    CHECK(usage_of(here, "soft")["grace_ends"].is_string());
    CHECK(usage_of(here, "soft")["inodes_grace_ends"].is_null());
    REQUIRE(here.shell({"-v", "soft:/data"}, "rm /data/g; sync").status == 0);
    CHECK(usage_of(here, "soft")["grace_ends"].is_null());

    // root makes the grace three seconds
    REQUIRE(run({{"/usr/sbin/setquota", "-t", "-P", "3", "3", here.state()}}).status == 0);
    REQUIRE(here.shell({"-v", "soft:/data"}, "dd if=/dev/zero of=/data/g bs=64k count=48 2>/dev/null && sync").status == 0);
    std::this_thread::sleep_for(seconds(5));
    const auto over = here.shell({"-v", "soft:/data"}, "dd if=/dev/zero of=/data/h bs=64k count=16 2>&1 && sync");
    CHECK_MESSAGE(is_full(over), over.out);
    check_usage(here, "soft", "used_bytes", 4 * kMiB);
}

TEST_CASE("resize up and down under a running job; below what is used it is refused, and nothing has changed") {
    const Installation here(vm_options(quota_kind()));
    here.create("data", "4MiB");
    const std::uint32_t project = project_of(here, id_of(here, "data"));
    Process job(here.shell_command({"-v", "data:/data"},
                                   std::string(kAwaitSignal) +
                                       "dd if=/dev/zero of=/data/f bs=64k count=128 2>/dev/null || echo held; await; "
                                       "dd if=/dev/zero of=/data/f bs=64k count=128 2>/dev/null && sync && echo grown; await; "
                                       "dd if=/dev/zero of=/data/g bs=64k count=128 2>/dev/null || echo again; sleep 300"));
    REQUIRE(job.wait_for_output("held"));
    const auto larger = here.run_rnx({"volume", "resize", "data", "--size=12MiB"});
    REQUIRE_MESSAGE(larger.status == 0, larger.err);
    CHECK(is_about(quota_row(here, project).hard_kib * 1024, 12 * kMiB));
    job.signal(SIGUSR1);
    REQUIRE(job.wait_for_output("grown"));
    const auto refused = here.run_rnx({"volume", "resize", "data", "--size=6MiB"});
    CHECK(refused.status == 1);
    CHECK_MESSAGE(says(refused, "8.0 MiB"), refused.err); // what it holds
    CHECK(size_of(here, "data") == 12 * kMiB);
    check_usage(here, "data", "size_bytes", 12 * kMiB);
    CHECK(is_about(quota_row(here, project).hard_kib * 1024, 12 * kMiB));
    REQUIRE(here.run_rnx({"volume", "resize", "data", "--size=9MiB"}).status == 0);
    CHECK(is_about(quota_row(here, project).hard_kib * 1024, 9 * kMiB));
    job.signal(SIGUSR1);
    CHECK(job.wait_for_output("again"));
    check_usage(here, "data", "used_bytes", 9 * kMiB);
    job.signal(SIGKILL);
    (void)job.wait();
    CHECK(size_of(here, "data") == 9 * kMiB);
    // Above what the device has a limit would be none
    const auto resized = here.run_rnx({"volume", "resize", "data", "--size=10GiB"});
    CHECK_MESSAGE(says(resized, "no room"), resized.err);
    const auto inodes = here.run_rnx({"volume", "create", "large", "--size=100MiB", "--inodes=100000"});
    CHECK(inodes.status == (quota_kind() == StoreMount::Kind::Ext4Quota ? 1 : 0)); // ext4 has as many as it was made with
    (void)here.run_rnx({"volume", "remove", "--now", "large"});
    const auto large = here.run_rnx({"volume", "create", "large", "--size=10GiB"});
    CHECK_MESSAGE(says(large, "no room"), large.err);
    CHECK(here.json_of({"volume", "list"}).size() == 1);
    CHECK(size_of(here, "data") == 9 * kMiB);
    CHECK(doctor(here)["differences"].empty());
}

TEST_CASE("case_31: volumes that are made at one time have a project each, and the doctor finds nothing to say") {
    const int count = std::getenv("JOBLET_TEST_LONG") != nullptr ? 1000 : 24;
    const Installation here(vm_options(quota_kind()));
    std::vector<std::jthread> users;
    constexpr int kAtOnce = 4;
    users.reserve(kAtOnce);
    for (int user = 0; user < kAtOnce; ++user) {
        users.emplace_back([&here, user, count] {
            for (int i = user; i < count; i += kAtOnce) {
                (void)here.run_rnx({"volume", "create", fmt::format("v{}", i), "--size=1MiB"}, user % 2 == 0 ? kAlice : kBob, seconds(60));
            }
        });
    }
    users.clear();
    std::set<std::uint32_t> projects;
    const json volumes = here.json_of({"volume", "list", "--all-users"});
    CHECK(volumes.size() == static_cast<std::size_t>(count));
    for (const json& volume : volumes) {
        CHECK(volume["backend"] == "project-quota");
        projects.insert(project_of(here, volume["id"]));
    }
    CHECK(projects.size() == volumes.size());
    CHECK(!projects.contains(0));
    const json report = doctor(here);
    CHECK_MESSAGE(report["differences"].empty(), report["differences"].dump());
    CHECK(check_ok(report, "backend project-quota"));
    CHECK(check_ok(report, "backend image"));
    CHECK(check_ok(report, "backend tmpfs"));
    for (const char* const controller : {"cpu", "io", "memory", "pids"}) {
        CHECK(check_ok(report, std::string("controller ") + controller));
    }
}

TEST_CASE("a quota that somebody else has is taken by no volume, and one changed behind our back is found and set again") {
    const Installation here(vm_options(quota_kind()));
    here.create("data", "4MiB");
    const std::uint32_t project = project_of(here, id_of(here, "data"));
    REQUIRE(run({{"/usr/sbin/setquota", "-P", std::to_string(project), "0", "0", "0", "0", here.state()}}).status == 0);
    // A row without a volume, and one with another limit
    const std::uint32_t other = project == 0x4A000001U ? 0x4A000002U : 0x4A000001U;
    REQUIRE(run({{"/usr/sbin/setquota", "-P", std::to_string(other), "0", "1024", "0", "0", here.state()}}).status == 0);
    const json report = doctor(here);
    CHECK_MESSAGE(report["differences"].size() == 2, report["differences"].dump());
    CHECK(report["differences"].dump().find(std::to_string(other)) != std::string::npos);
    CHECK(report["differences"].dump().find(id_of(here, "data")) != std::string::npos);
    CHECK(is_full(fill(here, "data", "f", 5))); // set again before the job had it
    REQUIRE(run({{"/usr/sbin/setquota", "-P", std::to_string(other), "0", "0", "0", "0", here.state()}}).status == 0);
    const json mended = doctor(here)["differences"];
    CHECK_MESSAGE(mended.empty(), mended.dump());
}

TEST_CASE("case_30: a job cannot leave its project: not by attributes, not by links and renames, not through another volume") {
    const Installation here(vm_options(quota_kind()));
    bring_guest(here, kAlice);
    here.create("data", "4MiB", "filesystem", kAlice);
    here.create("other", "4MiB", "filesystem", kAlice);
    const auto tried = here.run_rnx(
        {"run", "-v", "tools:/tools", "-v", "data:/data", "-v", "other:/other", "--", "/tools/guest", "attempts", "/data"}, kAlice);
    REQUIRE_MESSAGE(tried.out.starts_with("{"), tried.err);
    const json answers = json::parse(tried.out);
    for (const auto& expected : guest::kAnswers) {
        CAPTURE(expected.attempt);
        const std::string answer = answers.value(std::string(expected.attempt), "not tried");
        CHECK_MESSAGE((answer == expected.answer || answer == expected.other), answer);
    }
    const auto left = here.run_rnx(
        {"run", "-v", "tools:/tools", "-v", "data:/data", "-v", "other:/other", "--", "/tools/guest", "leave", "/data", "/other"}, kAlice);
    REQUIRE_MESSAGE(left.out.starts_with("{"), left.err);
    CHECK(json::parse(left.out) == json({{"rename", "EXDEV"},
                                         {"link", "EXDEV"},
                                         {"exchange", "EXDEV"},
                                         {"no_project", "EPERM"},
                                         {"other_project", "EPERM"},
                                         {"beyond_32_bits", "EPERM"},
                                         {"inheritance", "EINVAL"}})); // the kernel's own word: flags are a job's to change
    // Whatever was made, everywhere below, is the volume's
    const std::uint32_t project = project_of(here, id_of(here, "data", kAlice));
    const std::uint64_t before = usage_of(here, "data", kAlice)["used_bytes"];
    REQUIRE(here.shell({"-v", "data:/data"}, "mkdir -p /data/a/b/c && dd if=/dev/zero of=/data/a/b/c/f bs=64k count=16 2>/dev/null && sync",
                       kAlice)
                .status == 0);
    CHECK(usage_of(here, "data", kAlice)["used_bytes"] >= before + kMiB);
    const auto listed = run({{"/usr/bin/lsattr", "-pd", here.state() + "/volumes/" + id_of(here, "data", kAlice) + "/project/data/a/b/c"}});
    CHECK_MESSAGE(std::stoul(listed.out) == project, listed.out);
    CHECK(usage_of(here, "other", kAlice)["used_bytes"].get<std::uint64_t>() < kMiB);
}

TEST_SUITE_END();

} // namespace joblet::testing
