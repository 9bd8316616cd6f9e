// What rnx finds out about a host from its files.
#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "cli/host_checks.h"
#include "tests/unit/cli_words.h"

using namespace joblet::cli;

namespace {

constexpr SlotRange kSlots = {.first = 0x70000000, .count = 0x0FFE}; // up to the foreign range

HostTexts plain_host() {
    HostTexts texts;
    texts.kernel_release = "6.1.0-18-amd64";
    texts.namespaces.text = ".\n..\ncgroup\nipc\nmnt\nnet\npid\npid_for_children\ntime\nuser\nuts\n";
    texts.passwd.text = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n+::::::\n";
    texts.subuid.text = "alice:100000:65536\n";
    texts.subgid.text = "alice:100000:65536\n";
    texts.enforce.text = "1";
    return texts;
}

std::string status_of(const std::string& name, const std::string& seccomp, const std::string& no_new_privs,
                      const std::string& capabilities) {
    return "Name:\t" + name + "\nUmask:\t0022\nState:\tS (sleeping)\nPPid:\t1\nCapInh:\t0000000000000000\nCapEff:\t" + capabilities +
           "\nNoNewPrivs:\t" + no_new_privs + "\nSeccomp:\t" + seccomp + "\nSeccomp_filters:\t1\n";
}

DaemonTexts confined() {
    DaemonTexts daemons;
    daemons.supervisor = 100;
    daemons.children.text = "101 102 103 ";
    daemons.statuses = {{status_of("joblet-api", "2", "1", "0000000000000000"), 0},
                        {status_of("joblet-worker", "2", "1", "0000000000200009"), 0},
                        {status_of("joblet-worker", "2", "1", "0000000000200009"), 0}};
    return daemons;
}

void check_missing(const CheckView& check, std::string_view detail) {
    CAPTURE(check.detail);
    CHECK_FALSE(check.ok);
    CHECK(mentions(check.detail, detail));
    CHECK_FALSE(check.lost.empty());
    CHECK_FALSE(check.remedy.empty());
}

void check_ok(const CheckView& check, std::string_view detail) {
    CAPTURE(check.detail);
    CHECK(check.ok);
    CHECK(mentions(check.detail, detail));
    CHECK((check.lost.empty() && check.remedy.empty()));
}

} // namespace

TEST_CASE("a kernel is at least 6.1") {
    for (const std::string release : {"6.1.0-18-amd64", "6.1", "6.10.3", "6.2-rc1", "7.0.0", "10.0"}) {
        check_ok(check_kernel(release), release);
    }
    for (const std::string release : {"6.0.19", "5.15.0-91-generic", "5.99", "6", "six.one", "", "-6.1", "6."}) {
        check_missing(check_kernel(release), release);
    }
}

TEST_CASE("every kind of namespace that jobs need is there, or named") {
    check_ok(check_namespaces(plain_host().namespaces), "mnt, pid, ipc, uts, net, user, cgroup");
    check_missing(check_namespaces({.text = "mnt\npid_for_children\nipc\nuts\nnet\ncgroup\n", .problem = 0}), "of the kind pid, user");
    check_missing(check_namespaces({.text = "", .problem = EACCES}), "/proc/self/ns could not be read: Permission denied");
}

TEST_CASE("nobody on a host has the uids of jobs") {
    check_ok(check_uids(plain_host(), kSlots), "1879048192 to 2147352575");
    auto texts = plain_host();
    // A host without these files, and neighbours of the ranges
    texts.subuid = {.text = "", .problem = ENOENT};
    texts.subgid = {.text = "", .problem = ENOENT};
    texts.passwd.text += "a:x:1879048191:0::/:/bin/sh\nb:x:2147418112:0::/:/bin/sh\n";
    check_ok(check_uids(texts, kSlots), "nobody");
}

TEST_CASE("each user and range that meets those of jobs or volumes is named") {
    auto texts = plain_host();
    texts.passwd.text += "first:x:1879048192:100::/:/bin/sh\nlast:x:2147352575:100::/:/bin/sh\nvolume:x:2147352576:100::/:/bin/sh";
    texts.subuid.text += "bob:1878982657:65536\ncarol:1878982656:65536\n";
    texts.subgid.text += "dave:0:4294967296\nerin:18446744073709551615:18446744073709551615\n";
    const auto check = check_uids(texts, kSlots);
    check_missing(check, "user first has uid 1879048192; user last has uid 2147352575; user volume has uid 2147352576");
    CHECK(mentions(check.detail, "/etc/subuid gives bob the 65536 ids from 1878982657 on"));
    CHECK(mentions(check.detail, "/etc/subgid gives dave the 4294967296 ids from 0 on"));
    for (const char* other : {"root", "alice", "carol", "erin", "nobody"}) {
        CHECK_FALSE(mentions(check.detail, other));
    }
    // Other slots, but the same range for what is in volumes
    const auto elsewhere = check_uids(texts, SlotRange{.first = 0x10000000, .count = 1});
    check_missing(elsewhere, "user volume");
    CHECK_FALSE(mentions(elsewhere.detail, "user first"));
}

TEST_CASE("what cannot be compared is no agreement") {
    check_missing(check_uids(plain_host(), std::nullopt), "did not say");
    auto texts = plain_host();
    texts.passwd = {.text = "", .problem = ENOENT};
    check_missing(check_uids(texts, kSlots), "/etc/passwd could not be read");
    texts = plain_host();
    texts.subgid = {.text = "", .problem = EACCES};
    check_missing(check_uids(texts, kSlots), "/etc/subgid could not be read");
}

TEST_CASE("every daemon is filtered and gains no privileges, and its capabilities are shown") {
    const auto checks = check_filters(confined());
    REQUIRE(checks.size() == 2);
    CHECK(checks[0].subject == "filter of joblet-api");
    check_ok(checks[0], "capabilities 0000000000000000");
    CHECK(checks[1].subject == "filter of joblet-worker");
    check_ok(checks[1], "capabilities 0000000000200009, 2 processes");
}

TEST_CASE("one process that is confined less than its like is told by itself") {
    for (const auto& [seccomp, no_new_privs, what] : {std::tuple{"0", "1", "not filtered"},
                                                      {"1", "1", "not filtered"},
                                                      {"", "1", "not filtered"},
                                                      {"2", "0", "new privileges are possible"},
                                                      {"2", "", "new privileges are possible"}}) {
        auto daemons = confined();
        daemons.statuses[2].text = status_of("joblet-worker", seccomp, no_new_privs, "000001ffffffffff");
        const auto checks = check_filters(daemons);
        REQUIRE(checks.size() == 3);
        unsigned missing = 0;
        for (const auto& check : checks) {
            if (!check.ok) {
                ++missing;
                check_missing(check, what);
                CHECK(mentions(check.detail, "capabilities 000001ffffffffff"));
            }
        }
        CHECK(missing == 1);
    }
}

TEST_CASE("daemons that cannot be seen are not taken for confined ones") {
    auto daemons = confined();
    daemons.supervisor = 0;
    REQUIRE(check_filters(daemons).size() == 1);
    check_missing(check_filters(daemons).front(), "not known which process listens");
    daemons = confined();
    daemons.children = {.text = "", .problem = ENOENT};
    check_missing(check_filters(daemons).front(), "/proc/100/task/100/children could not be read: No such file");
    daemons = confined();
    daemons.statuses.clear();
    check_missing(check_filters(daemons).front(), "process 100");
    daemons = confined();
    daemons.statuses[0] = {.text = "", .problem = EACCES};
    const auto checks = check_filters(daemons);
    REQUIRE(checks.size() == 2);
    check_missing(checks[0], "Permission denied");
    check_ok(checks[1], "2 processes");
}

TEST_CASE("SELinux counts only where it enforces") {
    check_ok(check_selinux({.text = "1", .problem = 0}), "enforcing");
    check_ok(check_selinux({.text = "1\n", .problem = 0}), "enforcing");
    check_missing(check_selinux({.text = "0", .problem = 0}), "permissive");
    check_missing(check_selinux({.text = "", .problem = ENOENT}), "absent");
    check_missing(check_selinux({.text = "", .problem = EACCES}), "could not be read");
    check_missing(check_selinux({.text = "", .problem = 0}), "unknown");
    check_missing(check_selinux({.text = "11", .problem = 0}), "unknown");
}

TEST_CASE("all of it is told") {
    auto texts = plain_host();
    texts.daemons = confined();
    const auto checks = check_host(texts, kSlots);
    std::vector<std::string> missing;
    for (const auto& check : checks) {
        if (!check.ok) {
            missing.push_back(check.subject);
        }
    }
    CHECK(checks.size() == 6);
    CHECK(missing.empty());
}
