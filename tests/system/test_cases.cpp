// Published flaws of others, about descriptors, identity and limits, as they would be tried here: docs/security-cases.md.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "shared/datagram.h"
#include "tests/system/hostile_client.h"
#include "tests/system/open_watch.h"

namespace joblet::testing {

namespace fs = std::filesystem;

TEST_SUITE_BEGIN("cases");

namespace {

// What one user may do in a conversation: make a volume, start a job that ends at once.
// After opening(): two calls
Bytes create_and_run(const std::string& name) {
    auto bytes =
        call(kFirstFreeQuestion, kVolumesQuestion, capnp::typeId<rpc::VolumeService>(), 0, [&name](capnp::rpc::Payload::Builder payload) {
            auto params = payload.getContent().initAs<rpc::VolumeService::CreateVolumeParams>();
            params.setName(name);
            params.setSizeBytes(1 << 20U);
            params.setType(rpc::VolumeType::MEMORY);
        });
    return std::move(bytes) +
           call(kFirstFreeQuestion + 1, kJobsQuestion, capnp::typeId<rpc::JobService>(), kRun, [](capnp::rpc::Payload::Builder payload) {
               auto request = payload.getContent().initAs<rpc::JobService::RunParams>().initRequest();
               request.initCommand(1).set(0, "true");
               request.setDetached(true);
               request.setRemoveAfterwards(true);
           });
}

} // namespace

TEST_CASE("case_04: where something else is mounted over the group of ours nothing is started, and nothing is written into it") {
    Installation here;
    REQUIRE(here.stop() == 0);
    const auto group = here.cgroup();
    REQUIRE(::mkdir(group.c_str(), 0755) == 0);
    REQUIRE(::mount("joblet-test", group.c_str(), "tmpfs", 0, "size=1m") == 0);
    std::string said;
    try {
        here.start();
    } catch (const std::exception& error) {
        said = error.what();
    }
    // The clean-up of this test's own ends a group by its name
    fs::remove(group + "/cgroup.kill");
    const bool is_empty = fs::is_empty(group);
    CHECK(::umount2(group.c_str(), MNT_DETACH) == 0);
    CHECK(::rmdir(group.c_str()) == 0);
    CHECK_MESSAGE(said.find("mounted over") != std::string::npos, said);
    CHECK(is_empty);
}

TEST_CASE("case_18: no job can reach into a process of ours, or write to its program") {
    const Installation here;
    here.create("tools", "16MiB", "filesystem", kAlice);
    Process job(here.shell_command({"--base", "host", "-v", "tools:/tools"},
                                   "for f in exe mem maps environ root cwd fd/0 ns/mnt; do "
                                   "[ -r /proc/1/$f ] && cat /proc/1/$f >/dev/null 2>&1 && echo READ $f; "
                                   "( : >>/proc/1/$f ) 2>/dev/null && echo WROTE $f; done; "
                                   "find / -xdev -name 'joblet*' -writable 2>/dev/null; echo ready; exec sleep 60",
                                   kAlice));
    REQUIRE(job.wait_for_output("ready"));
    pid_t init = -1;
    for (const pid_t pid : privileged_pids(here)) {
        init = read_file(fmt::format("/proc/{}/comm", pid)) == "joblet-init\n" ? pid : init;
        // Of a process that can be dumped they belong to its user, of one that cannot to root: proc(5)
        struct stat status{};
        REQUIRE(::stat(fmt::format("/proc/{}/environ", pid).c_str(), &status) == 0);
        CAPTURE(pid);
        CHECK(status.st_uid == 0);
    }
    REQUIRE(init > 0);
    struct stat program{};
    struct stat shown{};
    REQUIRE(::stat(fmt::format("/proc/{}/exe", init).c_str(), &program) == 0);
    CHECK(program.st_uid == 0);
    CHECK((program.st_mode & (S_IWGRP | S_IWOTH)) == 0);
    CHECK(::stat(fmt::format("/proc/{}/root{}", init, fs::read_symlink(fmt::format("/proc/{}/exe", init)).string()).c_str(), &shown) != 0);
    job.signal(SIGTERM);
    CHECK(job.wait().out == "ready\n");
}

TEST_CASE("case_19: no process of ours has an abstract socket") {
    const Installation here;
    Process job(here.shell_command({}, "echo ready; sleep 20"));
    REQUIRE(job.wait_for_output("ready"));
    std::set<std::string> held;
    for (const pid_t pid : privileged_pids(here)) {
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid), error)) {
            held.insert(fs::read_symlink(entry.path(), error).string());
        }
    }
    std::size_t ours = 0;
    std::istringstream sockets(read_file("/proc/net/unix")); // Num RefCount Protocol Flags Type St Inode Path
    for (std::string line; std::getline(sockets, line);) {
        std::istringstream words(line);
        std::array<std::string, 8> word;
        for (auto& one : word) {
            words >> one;
        }
        if (held.contains("socket:[" + word[6] + "]")) {
            ++ours;
            CAPTURE(line);
            CHECK(!word[7].starts_with('@'));
        }
    }
    CHECK(ours > 0);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
}

TEST_CASE("case_22: a user id that does not parse, or overflows, is refused and never becomes another one") {
    const Installation here;
    for (const char* const id : {"-1", "+0", " 0", "0x0", "", "root", "65536", "2147483647", "2147483648", "4294967295", "4294967296",
                                 "4294967297", "18446744073709551616", "18446744073709551617", "0:-1", "0:4294967296", "0:root", "1e3"}) {
        CAPTURE(id);
        const auto refused = here.run_rnx({"run", "--user", id, "--", "id", "-u"}, kAlice);
        CHECK(refused.status == 125);
        CHECK(refused.out.empty());
        CHECK(!refused.err.empty());
    }
    CHECK(here.run_rnx({"run", "--user", "65535", "--", "id", "-u"}, kAlice).out == "65535\n");
    // past rnx
    for (const std::uint32_t id : {65536U, 0x80000000U, 0xffffffffU}) {
        HostileClient client(here, kAlice);
        client.send(opening() + call(kFirstFreeQuestion, kJobsQuestion, capnp::typeId<rpc::JobService>(), kRun,
                                     [id](capnp::rpc::Payload::Builder payload) {
                                         auto request = payload.getContent().initAs<rpc::JobService::RunParams>().initRequest();
                                         request.initCommand(1).set(0, "true");
                                         request.setDetached(true);
                                         request.setUser(id);
                                     }));
        client.finish();
        CHECK(client.is_ended());
    }
    const json jobs = here.json_of({"job", "list"}, kAlice);
    REQUIRE(jobs.size() == 1); // the one of 65535
    CHECK(jobs[0]["command"][0] == "id");
}

TEST_CASE("case_24: a client that dies after any byte of its conversation leaves a whole thing or none, and never root's") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const auto whole = opening() + create_and_run("v0000");
    const std::size_t step = is_long() ? 1 : 16;
    int number = 0;
    for (std::size_t length = 0; length <= whole.size(); length += step) {
        HostileClient client(here);
        const auto bytes = opening() + create_and_run(fmt::format("v{:04}", ++number));
        client.send(std::span(bytes).first(length));
    }
    // What has been passed on, and is judged when nobody is there any more in whose name
    const pid_t broker = here.daemons("joblet-broker").front();
    for (int i = 0; i < 4; ++i) {
        {
            HostileClient client(here);
            client.send(opening());
            REQUIRE(client.take(seconds(1)) > 0); // it is known, and served
            ::kill(broker, SIGSTOP);
            client.send(create_and_run(fmt::format("late{}", i)));
            std::this_thread::sleep_for(milliseconds(100));
        }
        ::kill(broker, SIGCONT);
    }
    // and rnx, at any moment
    auto random = random_source("killed at any moment");
    for (int i = 0; i < (is_long() ? 300 : 20); ++i) {
        const auto disk = fmt::format("d{}", i);
        Process create(here.rnx({"volume", "create", disk, "--size=1MiB"}, kMallory));
        Process run(here.shell_command({"-v", "v0001"}, "sleep 0.05", kMallory));
        std::this_thread::sleep_for(milliseconds(random() % 60));
        create.signal(SIGKILL);
        run.signal(SIGKILL);
    }
    CHECK(others_are_served(here));
    CHECK(becomes_true([&here] { return here.job_groups().empty(); }, seconds(30)));
    const json volumes = here.json_of({"volume", "list", "--all-users"});
    for (const json& volume : volumes) {
        CAPTURE(volume.dump());
        CHECK((volume["owner"] == kMallory || volume["name"] == "hers"));
        CHECK(!volume["name"].get<std::string>().starts_with("late"));
        CHECK(volume["status"] == "available");
    }
    for (const json& job : here.json_of({"job", "list", "--all-users"})) {
        CHECK(job["owner"] == kMallory);
    }
    CHECK(becomes_true([&here] { return here.loops().empty(); }));
    // What was begun for whoever has gone is still being finished
    CHECK(becomes_true([&here] { return json::parse(here.run_rnx({"doctor", "--format", "json"}).out)["differences"].empty(); },
                       seconds(30)));
}

TEST_CASE("case_32: what is made anew under the name of what was deleted has its limit, too") {
    for (const bool on_btrfs : {false, true}) {
        CAPTURE(on_btrfs);
        Installation::Options options;
        if (on_btrfs) {
            options.store = {StoreMount::Kind::Btrfs, "256M"};
        }
        const Installation here(options);
        for (int round = 0; round < 4; ++round) {
            here.create("data", "8MiB", "filesystem", kAlice);
            // What else may hold a limit here is not what is looked at
            REQUIRE(here.json_of({"volume", "inspect", "data"}, kAlice)["backend"] == (on_btrfs ? "btrfs" : "image"));
            const auto filled = here.shell({"-v", "data:/data"},
                                           "ls /data; dd if=/dev/zero of=/data/f bs=64k count=400 2>/dev/null; "
                                           "sync; stat -c %s /data/f",
                                           kAlice);
            CAPTURE(filled.out);
            const auto size = std::stoull(filled.out);
            CHECK(size >= 8U << 20U);
            CHECK(size < 12U << 20U);
            REQUIRE(here.run_rnx({"volume", "remove", "data"}, kAlice).status == 0);
        }
    }
}

TEST_CASE("case_34: while every worker hangs, volumes and jobs are listed and inspected") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    Process job(here.shell_command({"-v", "hers"}, "echo ready; sleep 60", kAlice));
    REQUIRE(job.wait_for_output("ready"));
    const auto workers = here.daemons("joblet-worker");
    for (const pid_t pid : workers) {
        ::kill(pid, SIGSTOP);
    }
    {
        // as many orders as there are workers, and more; an unmount among them
        std::vector<Process> waiting;
        waiting.reserve(6);
        for (int i = 0; i < 6; ++i) {
            waiting.emplace_back(here.rnx({"volume", "create", fmt::format("v{}", i), "--size=1MiB"}, kMallory));
        }
        job.signal(SIGTERM);
        for (int i = 0; i < 5; ++i) {
            CHECK(here.run_rnx({"volume", "inspect", "hers"}, kAlice, seconds(10)).status == 0);
            CHECK(here.run_rnx({"volume", "list"}, kAlice, seconds(10)).status == 0);
            CHECK(here.run_rnx({"job", "list"}, kAlice, seconds(10)).status == 0);
            CHECK(here.run_rnx({"volume", "list", "--all-users"}, 0, seconds(10)).status == 0);
        }
        CHECK(here.daemons("joblet-worker") == workers); // the same, and still stopped
        for (const pid_t pid : workers) {
            ::kill(pid, SIGCONT);
        }
        for (auto& one : waiting) {
            CHECK(one.wait().status == 0);
        }
    }
    CHECK(job.wait().status == 143);
}

TEST_CASE("case_41: descriptors handed out of a job give nothing of the next job in its slot") {
    Installation::Options options;
    options.broker_toml = "[slots]\ncount = 1\n";
    const Installation here(options);
    here.create("tools", "16MiB", "filesystem", kAlice);
    auto bring = here.shell_command({"-v", "tools:/tools"}, "cat >/tools/guest && chmod 755 /tools /tools/guest", kAlice);
    bring.input = read_file(binary("joblet-guest"));
    REQUIRE(run(bring).status == 0);

    // What is worth having: directories, of which each leads on; its processes; its terminals
    const Words paths = {"/",        "/work",          "/tmp",  "/dev/shm",   "/dev/pts",
                         "/volumes", "/volumes/tools", "/proc", "/proc/self", "/proc/self/fd"};
    std::vector<Fd> kept;
    {
        auto [ours, theirs] = make_seqpacket_pair();
        auto command = here.rnx({"run", "-v", "tools", "--", "/volumes/tools/guest", "hand-out"}, kAlice);
        command.words.insert(command.words.end(), paths.begin(), paths.end());
        command.input_descriptor = theirs.get();
        Process job(command);
        theirs.reset();
        std::array<std::byte, 64> buffer{};
        for (std::size_t i = 0; i < paths.size(); ++i) {
            auto received = receive_datagram(ours.get(), buffer, Wait::Yes);
            REQUIRE(received);
            REQUIRE(received->descriptors.size() == 1);
            kept.push_back(std::move(received->descriptors.front()));
        }
        ours.reset();
        CHECK(job.wait().status == 0);
    }
    REQUIRE(becomes_true([&here] { return here.job_groups().empty(); }));
    Process next(here.shell_command({},
                                    "echo secret >/work/secret; echo secret >/tmp/secret; echo secret >/dev/shm/secret; echo ready; "
                                    "sleep 60",
                                    kBob));
    REQUIRE_MESSAGE(next.wait_for_output("ready"), "the slot is not free again");
    for (std::size_t i = 0; i < kept.size(); ++i) {
        CAPTURE(paths[i]);
        const int directory = kept[i].get();
        for (const char* const name : {"secret", "work/secret", "tmp/secret", "dev/shm/secret", "../work/secret", "root/work/secret",
                                       "2/root/work/secret", "1/root/work/secret", "shm/secret", "1/environ", "2/environ", "2/cmdline"}) {
            CAPTURE(name);
            const Fd found(::openat(directory, name, O_RDONLY | O_CLOEXEC)); // as root: no permission is in the way
            std::array<char, 256> text{};
            const ssize_t size = found.valid() ? ::read(found.get(), text.data(), text.size()) : -1;
            CHECK(size <= 0);
        }
    }
    next.signal(SIGTERM);
    CHECK(next.wait().status == 143);
}

TEST_SUITE_END();

} // namespace joblet::testing
