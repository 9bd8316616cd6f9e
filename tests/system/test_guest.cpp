// A guest reports from inside a job started by the whole product; expectations are in one table, tests/guest/expectations.h.
#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>
#include <sstream>

#include "tests/guest/expectations.h"
#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("guest");

namespace {

std::set<std::string> words(const std::string& text) {
    std::set<std::string> out;
    std::istringstream in(text);
    for (std::string word; std::getline(in, word, ',');) {
        out.insert(word);
    }
    return out;
}

bool contains_all(const std::set<std::string>& set, std::string_view wanted) {
    const auto all = words(std::string(wanted));
    return std::ranges::all_of(all, [&set](const std::string& word) { return set.contains(word); });
}

// The guest, put into a volume of the user by a job of the user.
void bring_guest(const Installation& here, uid_t uid) {
    here.create("tools", "16MiB", "filesystem", uid);
    auto command = here.shell_command({"-v", "tools:/tools"}, "cat >/tools/guest && chmod 755 /tools /tools/guest", uid);
    command.input = read_file(binary("joblet-guest"));
    REQUIRE(run(command).status == 0);
}

json guest(const Installation& here, const Words& arguments, uid_t uid) {
    Words line = {"run", "-v", "tools:/tools", "-v", "data:/data", "-v", "mem", "--", "/tools/guest"};
    line.insert(line.end(), arguments.begin(), arguments.end());
    const auto outcome = here.run_rnx(line, uid);
    REQUIRE_MESSAGE(outcome.out.starts_with("{"), outcome.err); // its status tells whether all went well in there
    return json::parse(outcome.out);
}

} // namespace

TEST_CASE("case_21, case_27, case_29: from inside, a job has what the tables say and nothing else, whoever runs it") {
    const Installation here;
    for (const uid_t uid : {uid_t{0}, kAlice}) {
        CAPTURE(uid);
        bring_guest(here, uid);
        here.create("data", "2MiB", "filesystem", uid);
        here.create("mem", "3MiB", "memory", uid);
        const json report = guest(here, {"report"}, uid);

        for (const auto name : guest::kOwnNamespaces) {
            CAPTURE(name);
            std::array<char, 64> own{};
            REQUIRE(::readlink(("/proc/self/ns/" + std::string(name)).c_str(), own.data(), own.size() - 1) > 0);
            CHECK(report["namespaces"][std::string(name)] != own.data());
        }
        CHECK(report["uid"] == json({0, 0, 0}));
        CHECK(report["groups"].empty());
        REQUIRE(report["uid_map"].size() == 1);
        CHECK(report["uid_map"][0][0] == 0);
        CHECK(report["uid_map"][0][1].get<std::uint32_t>() >= 0x70000000U);
        CHECK(report["uid_map"][0][1].get<std::uint32_t>() < 0x7FFE0000U);
        CHECK(report["uid_map"][0][2] == guest::kSlotSize);
        CHECK(report["gid_map"] == report["uid_map"]);
        for (const auto set : guest::kCapabilitySets) {
            CHECK(report["capabilities"][std::string(set)] == guest::kNoCapabilities);
        }
        CHECK(report["no_new_privs"] == 1);
        CHECK(report["seccomp"] == guest::kSeccompFilter);
        CHECK(report["cwd"] == "/work");
        CHECK(report["session"] == report["pid"]);
        REQUIRE(report["descriptors"].size() == 3);

        std::set<std::string> targets;
        for (const json& mount : report["mounts"]) {
            const std::string target = mount["target"];
            CAPTURE(target);
            targets.insert(target);
            const auto flags = mount["flags"].get<std::set<std::string>>();
            const bool device = target == guest::kDevices || target == "/dev/pts";
            CHECK(contains_all(flags, device ? guest::kDeviceMountFlags : guest::kAnyMountFlags));
            for (const char* const kind : {"cgroup", "cgroup2", "sysfs"}) {
                CHECK(mount["fstype"] != kind);
            }
            // nothing secret: neither the store's root nor the owner's id
            CHECK(mount.dump().find(here.root()) == std::string::npos);
        }
        for (const auto& expected : guest::kMounts) {
            CAPTURE(expected.target);
            const auto found =
                std::ranges::find_if(report["mounts"], [&expected](const json& mount) { return mount["target"] == expected.target; });
            REQUIRE(found != report["mounts"].end());
            CHECK((*found)["fstype"] == expected.fstype);
            const auto flags = (*found)["flags"].get<std::set<std::string>>();
            CHECK(contains_all(flags, expected.flags));
            CHECK((expected.forbidden.empty() || !contains_all(flags, expected.forbidden)));
        }
        for (const char* volume : {"/volumes/tools", "/tools", "/volumes/data", "/data", "/volumes/mem"}) {
            CHECK(targets.contains(volume));
        }
        for (const auto& expected : guest::kDirectories) {
            CAPTURE(expected.path);
            const std::string path(expected.path);
            CHECK((report["directories"].contains(path) && !report["directories"][path].is_null()) == expected.exists);
            if (expected.exists) {
                CHECK(report["directories"][path]["writable"] == expected.writable);
            }
        }
        CHECK(report["directories"]["/work"]["bytes"] == 1024 * 1024);

        std::set<std::string> expected_root(guest::kRootNames.begin(), guest::kRootNames.end());
        expected_root.insert({"data", "tools"});
        CHECK(report["root"].get<std::set<std::string>>() == expected_root);

        const json full = guest(here, {"fill", "/volumes/mem/f", "99999999"}, uid);
        CHECK(full["written"] == 3 * 1024 * 1024);
        CHECK(full["error"] == "ENOSPC");
        CHECK(guest(here, {"fill", "/data/f", "99999999"}, uid)["written"].get<std::uint64_t>() >= 2U * 1024 * 1024);
    }
}

TEST_CASE("whatever a job tries beyond its own is answered as the table says, in /work and in a volume") {
    for (const bool on_btrfs : {false, true}) {
        CAPTURE(on_btrfs);
        Installation::Options options;
        if (on_btrfs) {
            options.store = {StoreMount::Kind::Btrfs, "256M"};
        }
        const Installation here(options);
        bring_guest(here, kAlice);
        here.create("data", "2MiB", "filesystem", kAlice);
        here.create("mem", "2MiB", "memory", kAlice);
        for (const std::string place : {"/work", "/data", "/volumes/mem"}) {
            CAPTURE(place);
            const json answers = guest(here, {"attempts", place}, kAlice);
            for (const auto& [attempt, answer, other] : guest::kAnswers) {
                CAPTURE(attempt);
                const json got = answers.value(std::string(attempt), json());
                CAPTURE(got);
                CHECK((got == answer || (!other.empty() && got == other)));
            }
            CHECK(answers["in_reflink"] == (on_btrfs && place == "/data" ? "ok" : "EOPNOTSUPP"));
        }
    }
}

TEST_CASE("whatever base, user, terminal and network a job has, its rights are the same") {
    Installation::Options options;
    options.broker_toml = "[jobs]\nhost_network = true\n";
    const Installation here(options);
    bring_guest(here, kAlice);
    // What differs: an id may be taken by the one who has it, and what is masked, if the kernel has it, can be opened and is empty
    const auto is_right = [](const guest::ExpectedAnswer& expected, const json& got, bool is_other_user, bool is_masked) {
        if (expected.attempt == "setuid_other" && is_other_user) {
            return got == "ok";
        }
        return got == expected.answer || (!expected.other.empty() && got == expected.other) ||
               (expected.attempt == "proc_kcore" && is_masked && got == "ok");
    };
    for (const std::string base : {"minimal", "host"}) {
        for (const std::string user : {"0", "1000"}) {
            for (const bool has_terminal : {false, true}) {
                for (const std::string network : {"none", "host"}) {
                    CAPTURE(base);
                    CAPTURE(user);
                    CAPTURE(has_terminal);
                    CAPTURE(network);
                    const auto run_guest = [&](const Words& arguments) {
                        Words line = {"run", "--base", base, "--user", user, "--network", network, "-v", "tools:/tools:ro"};
                        if (has_terminal) {
                            line.emplace_back("-t");
                        }
                        line.insert(line.end(), {"--", "/tools/guest"});
                        line.insert(line.end(), arguments.begin(), arguments.end());
                        const auto outcome = here.run_rnx(line, kAlice);
                        REQUIRE_MESSAGE(outcome.out.starts_with("{"), outcome.err);
                        return json::parse(outcome.out);
                    };
                    const json answers = run_guest({"attempts", "/work"});
                    for (const auto& attempt : guest::kAnswers) {
                        CAPTURE(attempt.attempt);
                        const json got = answers.value(std::string(attempt.attempt), json());
                        CAPTURE(got);
                        CHECK(is_right(attempt, got, user != "0", base == "host"));
                    }
                    const json report = run_guest({"report"});
                    const int id = std::stoi(user);
                    CHECK(report["uid"] == json({id, id, id}));
                    CHECK(report["groups"].empty());
                    CHECK(report["no_new_privs"] == 1);
                    CHECK(report["seccomp"] == guest::kSeccompFilter);
                    for (const auto set : guest::kCapabilitySets) {
                        CHECK(report["capabilities"][std::string(set)] == guest::kNoCapabilities);
                    }
                    for (const json& mount : report["mounts"]) {
                        const std::string target = mount["target"];
                        CAPTURE(target);
                        const auto flags = mount["flags"].get<std::set<std::string>>();
                        // device nodes, and the null device over what is masked
                        const bool device = target == guest::kDevices || target == "/dev/pts" || target.starts_with("/proc/");
                        CHECK(contains_all(flags, device ? guest::kDeviceMountFlags : guest::kAnyMountFlags));
                        CHECK(mount.dump().find(here.root()) == std::string::npos);
                    }
                }
            }
        }
    }
}

TEST_SUITE_END();

} // namespace joblet::testing
