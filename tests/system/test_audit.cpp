// What was done is on record, with whoever wants it; without a record nothing is done.
#include <doctest/doctest.h>

#include <csignal>

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("audit");

namespace {

namespace fs = std::filesystem;

std::string log_of(const Installation& here) {
    return here.root() + "/var/log/joblet/audit.jsonl";
}

Outcome verify(const Installation& here, Words more = {}) {
    Words words = {"audit", "verify"};
    words.insert(words.end(), more.begin(), more.end());
    return here.run_rnx(words);
}

// Signed a moment after it was written.
bool verifies(const Installation& here) {
    return becomes_true([&here] { return verify(here).status == 0; });
}

json records(const Installation& here, Words filter = {}) {
    Words words = {"audit", "list"};
    words.insert(words.end(), filter.begin(), filter.end());
    return here.json_of(words);
}

// The records of that request, and of what became of it: each "begin" with its "end".
std::vector<std::pair<json, json>> operations(const json& all, const std::string& request) {
    std::vector<std::pair<json, json>> out;
    for (const auto& begun : all) {
        if (begun.value("event", "") != "begin" || begun.value("request", "") != request) {
            continue;
        }
        const auto ended = std::ranges::find_if(all, [&begun](const json& one) { return one.value("begin", json()) == begun["seq"]; });
        out.emplace_back(begun, ended == all.end() ? json() : *ended);
    }
    return out;
}

} // namespace

TEST_CASE("each operation is on record before and after it, refusals too, with who asked and what came of it") {
    const Installation here;
    here.create("data", "1MiB", "filesystem", kAlice);
    const std::string id = here.json_of({"volume", "inspect", "data"}, kAlice)["id"];
    CHECK(here.run_rnx({"volume", "create", "data", "--size=2MiB"}, kAlice).status == 1); // conflict
    CHECK(here.run_rnx({"volume", "inspect", "--user", std::to_string(kAlice), "data"}).status == 0);
    REQUIRE(here.shell({"-v", "data"}, "exit 7", kAlice).status == 7);
    REQUIRE(here.run_rnx({"volume", "remove", "data"}, kAlice).status == 0);

    const json all = records(here);
    const auto created = operations(all, "CreateVolume");
    REQUIRE(created.size() == 2);
    const auto& [begun, ended] = created[0];
    CHECK(begun["uid"] == kAlice);
    CHECK(begun["pid"] > 1);
    CHECK(begun["connection"] != 0);
    CHECK(begun["size_bytes"] == 1024 * 1024);
    CHECK(begun["type"] == "filesystem");
    CHECK(ended["verdict"] == "OK");
    CHECK(ended["volume"] == id);
    CHECK(created[1].second["verdict"] == "CONFLICT");
    const auto started = operations(all, "StartJob");
    REQUIRE(started.size() == 1);
    CHECK(started[0].first["volumes"] == json({id}));
    const std::string job = started[0].second["job"];
    CHECK(operations(all, "DeleteVolume").size() == 1);
    CHECK(operations(all, "AdminRead").at(0).first["uid"] == 0);
    const auto over = std::ranges::find_if(all, [](const json& one) { return one["event"] == "job_end"; });
    REQUIRE(over != all.end());
    CHECK((*over)["job"] == job);
    CHECK((*over)["code"] == 7);
    CHECK((*over)["uid"] == kAlice);
    // No text that a user chose
    CHECK(read_file(log_of(here)).find("data\"") == std::string::npos);

    CHECK(records(here, {"--volume", id.substr(0, 12)}).size() >= 4);
    CHECK(records(here, {"--user", std::to_string(kBob)}).empty());
    CHECK(records(here, {"--job", job}).size() >= 2);
    CHECK(records(here, {"--since=1h"}).size() >= all.size());
    CHECK(records(here, {"--since=2100-01-01"}).empty());
    CHECK(here.run_rnx({"audit", "list", "--volume", id}).out.find("CreateVolume") != std::string::npos);
    CHECK(here.run_rnx({"audit", "list", "--volume", "data"}).status == 2);
    CHECK(verifies(here));
}

TEST_CASE("the log is root's: others cannot read it, and are told so") {
    const Installation here;
    const auto refused = here.run_rnx({"audit", "verify"}, kAlice);
    CHECK(refused.status == 1);
    CHECK_MESSAGE(refused.err.find("root") != std::string::npos, refused.err);
    CHECK((fs::status(here.state() + "/audit.key").permissions() & fs::perms(0077)) == fs::perms(0));
}

TEST_CASE("a broker that was killed in the middle of work goes on with the chain") {
    const Installation here;
    Process job(here.shell_command({}, "echo started; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    for (int i = 0; i < 3; ++i) {
        here.create(fmt::format("v{}", i));
        here.kill_daemons("joblet-broker");
    }
    CHECK(verifies(here));
    const json all = records(here);
    CHECK(std::ranges::count_if(all, [](const json& one) { return one["event"] == "start"; }) == 4);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
}

TEST_CASE("a change is found, on a copy elsewhere too, and a log that is shorter than what was written") {
    const Installation here;
    here.create("data");
    here.create("other");
    REQUIRE(verifies(here));
    const std::string text = read_file(log_of(here));
    const std::string copy = here.root() + "/copy.jsonl";
    const std::string key = here.root() + "/var/log/joblet/audit.pub";
    write_file(copy, text);
    const auto good = verify(here, {"--public-key", key, copy});
    CHECK_MESSAGE(good.status == 0, good.out);
    auto changed = text;
    changed.replace(changed.find("\"uid\":0"), 7, "\"uid\":5");
    write_file(copy, changed);
    const auto found = verify(here, {"--public-key", key, copy});
    CHECK(found.status == 1);
    CHECK_MESSAGE(found.out.find("was changed") != std::string::npos, found.out);
    CHECK(found.out.find(copy + ", line ") != std::string::npos);
    // Without a key, without a file
    CHECK(verify(here, {copy}).status == 1);
    CHECK(verify(here, {here.root() + "/none"}).status == 1);
    // Cut after a signature: the daemon knows better
    const auto first = text.find('\n', text.find("\"event\":\"checkpoint\""));
    here.create("third");
    REQUIRE(verifies(here));
    fs::resize_file(log_of(here), first + 1);
    const auto cut = verify(here);
    CHECK(cut.status == 1);
    CHECK_MESSAGE(cut.out.find("cut") != std::string::npos, cut.out);
}

TEST_CASE("no room for records: what would have to be on record is refused, jobs go on, and doctor says so") {
    Installation::Options options;
    options.logs_on_tmpfs = "size=2M";
    const Installation here(options);
    here.create("data");
    Process job(here.shell_command({"-v", "data"}, "echo started; while [ ! -e /volumes/data/stop ]; do sleep 0.1; done; echo ended"));
    REQUIRE(job.wait_for_output("started"));
    const std::string filler = here.root() + "/var/log/joblet/filler";
    const auto full = run({{"/usr/bin/dd", "if=/dev/zero", "of=" + filler, "bs=4k"}});
    REQUIRE(full.status == 1);
    // There is room that was taken before
    auto refused = here.run_rnx({"volume", "protect", "data"});
    for (int i = 0; i < 2000 && refused.status == 0; ++i) {
        refused = here.run_rnx({"volume", "protect", "data"});
    }
    CHECK(refused.status == 1);
    CHECK_MESSAGE(refused.err.find("write the audit record") != std::string::npos, refused.err);
    CHECK(refused.err.find("No space left") != std::string::npos);
    CHECK(here.run_rnx({"volume", "create", "other", "--size=1MiB"}).status == 1);
    CHECK(here.run_rnx({"run", "--", "true"}).status == 125);
    CHECK(here.json_of({"volume", "list"}).size() == 1);
    const json report = here.json_of({"doctor"});
    const auto check = std::ranges::find_if(report["checks"], [](const json& one) { return one["subject"] == "audit"; });
    REQUIRE(check != report["checks"].end());
    CHECK((*check)["ok"] == false);
    CHECK((*check)["detail"].get<std::string>().find("No space left") != std::string::npos);

    fs::remove(filler);
    CHECK(here.run_rnx({"volume", "unprotect", "data"}).status == 0);
    REQUIRE(here.shell({"-v", "data:/data:ro"}, "true").status != 0); // one writer has it
    job.signal(SIGTERM);
    (void)job.wait();
    CHECK(verifies(here));
}

TEST_CASE("with sync = each all of it works as well, and a long log is put aside") {
    Installation::Options options;
    options.broker_toml = "[audit]\nsync = \"each\"\nfile_size = \"1MiB\"\n";
    const Installation here(options);
    here.create("data");
    REQUIRE(here.shell({"-v", "data"}, "true").status == 0);
    CHECK(verifies(here));
}

TEST_SUITE_END();

} // namespace joblet::testing
