// Two ordinary users and root: nobody sees or touches what is another's, but for an admin who asks for it.
#include <doctest/doctest.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>

#include <algorithm>

#include "shared/fd.h"
#include "tests/system/installation.h"

namespace joblet::testing {

namespace {

// A client that says nothing. The kernel says of a connection whose it is from the moment that it is made.
Fd connect_as(uid_t uid, const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof address.sun_path);
    std::ranges::copy(path, address.sun_path);
    Fd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::seteuid(uid) == 0);
    const int connected = ::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    REQUIRE(::seteuid(0) == 0);
    REQUIRE(connected == 0);
    return connection;
}

} // namespace

TEST_SUITE_BEGIN("users");

TEST_CASE("ordinary users neither see nor touch each other's volumes") {
    const Installation here;
    here.create("data", "1MiB", "filesystem", kAlice);
    here.create("data", "2MiB", "filesystem", kBob); // the same name, another volume
    here.create("secret", "1MiB", "memory", kAlice);
    const std::string id = here.json_of({"volume", "inspect", "secret"}, kAlice)["id"];

    const json bobs = here.json_of({"volume", "list"}, kBob);
    REQUIRE(bobs.size() == 1);
    CHECK(bobs[0]["size_bytes"] == 2 * 1024 * 1024);
    CHECK(bobs[0]["owner"] == kBob);
    for (const std::string& word : {std::string("secret"), id}) {
        CAPTURE(word);
        const auto inspected = here.run_rnx({"volume", "inspect", word, "--format", "json"}, kBob);
        CHECK(inspected.status == 1);
        CHECK(inspected.err.find("NOT_FOUND") != std::string::npos);
        CHECK(here.run_rnx({"volume", "remove", word}, kBob).status == 1);
        CHECK(here.shell({"-v", word}, "true", kBob).status == 125);
    }
    CHECK(here.json_of({"volume", "list"}, kAlice).size() == 2);
    REQUIRE(here.shell({"-v", "data:/data"}, "echo alice >/data/f", kAlice).status == 0);
    CHECK(here.shell({"-v", "data:/data"}, "ls /data | wc -l", kBob).out == "0\n");
}

TEST_CASE("not even root runs a job on another's volume") {
    const Installation here;
    here.create("data", "1MiB", "filesystem", kAlice);
    const std::string id = here.json_of({"volume", "inspect", "data"}, kAlice)["id"];
    CHECK(here.shell({"-v", "data"}, "true").status == 125);
    CHECK(here.shell({"-v", id}, "true").status == 125);
}

TEST_CASE("an admin who asks for it sees and manages everybody's; whoever is none is refused") {
    const Installation here(Installation::Options{"[admins]\nusers = [20002]\n", {}, {}});
    here.create("data", "1MiB", "filesystem", kAlice);
    CHECK(here.json_of({"volume", "list"}).empty());
    CHECK(here.json_of({"volume", "list", "--all-users"}).size() == 1);
    CHECK(here.json_of({"volume", "list", "--all-users"}, kBob).size() == 1);
    CHECK(here.run_rnx({"volume", "list", "--all-users"}, kAlice).status == 1);
    CHECK(here.run_rnx({"volume", "remove", "data"}, kBob).status == 1);
    CHECK(here.run_rnx({"volume", "remove", "--user", std::to_string(kAlice), "data"}, kBob).status == 0);
    CHECK(here.json_of({"volume", "list"}, kAlice).empty());
}

TEST_CASE("whatever an admin does with what is another's is on record as an admin's, and what he does with his own is not") {
    const Installation here(Installation::Options{"[admins]\nusers = [20002]\n", {}, {}, {}});
    here.create("data", "1MiB", "filesystem", kAlice);
    here.create("own", "1MiB", "memory", kBob);
    const std::string id = here.json_of({"volume", "inspect", "data"}, kAlice)["id"];
    const std::string alice = std::to_string(kAlice);
    const auto count = [&here] {
        const json records = here.json_of({"audit", "list", "--user", std::to_string(kBob)});
        return std::ranges::count_if(records, [](const json& one) {
            return one["event"] == "begin" && (one["request"] == "AdminRead" || one.value("authority", "") == "admin");
        });
    };
    REQUIRE(here.run_rnx({"volume", "list"}, kBob).status == 0);
    REQUIRE(here.run_rnx({"volume", "protect", "own"}, kBob).status == 0);
    CHECK(count() == 0);
    for (const Words& words : {Words{"list", "--all-users"}, Words{"list", "--user", alice}, Words{"inspect", "--user", alice, "data"},
                               Words{"inspect", "--all-users", id}, Words{"protect", "--user", alice, "data"},
                               Words{"unprotect", "--all-users", id}, Words{"remove", "--user", alice, "data"}}) {
        CAPTURE(words);
        Words all = {"volume"};
        all.insert(all.end(), words.begin(), words.end());
        const auto before = count();
        CHECK(here.run_rnx(all, kBob).status == 0);
        CHECK(count() > before);
    }
    // no other change of another's volume is an admin's to make
    here.create("data", "1MiB", "memory", kAlice);
    const std::string other = here.json_of({"volume", "inspect", "data"}, kAlice)["id"];
    for (const Words& words : {Words{"rename", other, "x"}, Words{"label", other, "k=v"}, Words{"restore", id}}) {
        Words all = {"volume"};
        all.insert(all.end(), words.begin(), words.end());
        CHECK(here.run_rnx(all, kBob).status == 1);
    }
}

TEST_CASE("the socket's mode and the lists say who may connect") {
    {
        const Installation here(Installation::Options{"[socket]\nmode = \"0600\"\n", {}, {}});
        CHECK(here.run_rnx({"volume", "list"}).status == 0);
        const auto refused = here.run_rnx({"volume", "list"}, kAlice);
        CHECK(refused.status == 1);
        CHECK(refused.err.find("you may not use the socket") != std::string::npos);
    }
    {
        const Installation here(Installation::Options{"[socket]\nallowed_users = [20001]\n", {}, {}});
        CHECK(here.run_rnx({"volume", "list"}).status == 0); // root always may
        CHECK(here.run_rnx({"volume", "list"}, kAlice).status == 0);
        const auto refused = here.run_rnx({"volume", "list"}, kBob);
        CHECK(refused.status == 1);
        CHECK(refused.err.find("you may not use this daemon") != std::string::npos);
        CHECK(refused.err.find("[socket]") != std::string::npos);
    }
}

TEST_CASE("connections are bounded for each user; one too many is told so, and nothing is done on it") {
    const Installation here(Installation::Options{"[limits]\nconnections = 2\n", {}, {}});
    {
        const Fd first = connect_as(kAlice, here.socket());
        const Fd second = connect_as(kAlice, here.socket());
        const auto refused = here.run_rnx({"volume", "create", "data", "--size=1MB", "--format=json"}, kAlice);
        CHECK(refused.status == 1);
        const auto error = json::parse(refused.err)["error"];
        CHECK(error["code"] == "LIMIT_EXCEEDED");
        CHECK(error["message"] == "you have 2 connections to this daemon, and may have 2: this would be one more");
        CHECK(here.run_rnx({"volume", "list"}, kBob).status == 0); // counted apart
        // More of them at once than can be told are closed at once, and take nobody's place
        std::vector<Fd> more(20);
        std::ranges::generate(more, [&here] { return connect_as(kAlice, here.socket()); });
        CHECK(here.run_rnx({"volume", "list"}, kAlice).status == 1);
        CHECK(here.run_rnx({"volume", "list"}, kBob).status == 0);
    }
    REQUIRE(becomes_true([&here] { return here.run_rnx({"volume", "list"}, kAlice).status == 0; }));
    CHECK(here.json_of({"volume", "list"}, kAlice).empty());
}

TEST_CASE("what root allows one user holds: number, sum and size of volumes, jobs at once; the refusal names the limit") {
    const Installation here(
        Installation::Options{"[limits]\nvolumes = 2\ntotal_size = \"5MiB\"\nlargest_volume = \"4MiB\"\nrunning_jobs = 1\n", {}, {}});
    const auto refused = [&here](Words words, const char* says) {
        const auto outcome = here.run_rnx(std::move(words), kAlice);
        CHECK(outcome.status != 0);
        CHECK_MESSAGE(outcome.err.find(says) != std::string::npos, outcome.err);
    };
    refused({"volume", "create", "large", "--size=5MiB"}, "4.0 MiB");
    here.create("a", "3MiB", "filesystem", kAlice);
    refused({"volume", "create", "b", "--size=3MiB"}, "5.0 MiB");
    here.create("b", "1MiB", "memory", kAlice);
    refused({"volume", "create", "c", "--size=1MiB"}, "2");
    here.create("c", "1MiB", "memory", kBob); // counted apart
    Process job(here.shell_command({}, "echo ready; sleep 30", kAlice));
    REQUIRE(job.wait_for_output("ready"));
    refused({"run", "--", "true"}, "1");
    CHECK(here.shell({}, "true", kBob).status == 0);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(here.json_of({"volume", "list"}, kAlice).size() == 2);
}

TEST_SUITE_END();

} // namespace joblet::testing
