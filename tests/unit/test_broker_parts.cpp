// The broker's memory: registry and limits' sums, slots' numbers, the loop and its coroutines; and its configuration.
#include <doctest/doctest.h>

#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "broker-root/broker/config.h"
#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/jobs.h"
#include "broker-root/broker/registry.h"
#include "broker-root/broker/task.h"

using namespace joblet;
using namespace joblet::broker;

namespace {

Volume make_volume(std::uint32_t owner, const char* name, std::uint64_t bytes = 100,
                   protocol::VolumeType type = protocol::VolumeType::Filesystem) {
    Volume volume;
    volume.record.id = make_random_id<VolumeId>();
    volume.record.name = NameText(name);
    volume.record.owner_uid = owner;
    volume.record.size_bytes = bytes;
    volume.record.type = type;
    return volume;
}

// A root with a broker.toml of this text; removed when it goes.
class ConfiguredRoot {
  public:
    explicit ConfiguredRoot(const std::string& text) {
        std::string pattern = "/var/tmp/joblet-config.XXXXXX";
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
        ::mkdir((path_ + "/etc").c_str(), 0755);
        ::mkdir((path_ + "/etc/joblet").c_str(), 0755);
        FILE* file = std::fopen((path_ + "/etc/joblet/broker.toml").c_str(), "we");
        REQUIRE(file != nullptr);
        std::fwrite(text.data(), 1, text.size(), file);
        std::fclose(file); // NOLINT(cppcoreguidelines-owning-memory)
    }
    ConfiguredRoot(const ConfiguredRoot&) = delete;
    ConfiguredRoot& operator=(const ConfiguredRoot&) = delete;
    ~ConfiguredRoot() {
        ::unlink((path_ + "/etc/joblet/broker.toml").c_str());
        ::rmdir((path_ + "/etc/joblet").c_str());
        ::rmdir((path_ + "/etc").c_str());
        ::rmdir(path_.c_str());
    }
    [[nodiscard]] const std::string& path() const {
        return path_;
    }

  private:
    std::string path_;
};

} // namespace

TEST_CASE("what is told of a job decodes between the report of its exit and its end, too") {
    EventLoop loop;
    Job job(loop);
    job.record = make_job_record(1000, 3, worker::JobKind::User);
    job.exit.magic = kExitMagic;
    job.exit.kind = ExitKind::Exited;
    job.exit.started_ns = job.record.started_ns;
    job.exit.ended_ns = job.record.started_ns + 1;
    for (const auto state : {protocol::JobState::Running, protocol::JobState::Ended}) {
        job.state = state;
        protocol::JobChanged told;
        told.job = entry_of(job);
        CHECK(protocol::decode_message(std::as_bytes(std::span(&told, 1)), 0).has_value());
        CHECK((told.job.exit.kind == ExitKind::Exited) == (state == protocol::JobState::Ended));
    }
}

TEST_CASE("a name is taken once per owner, and usage counts what is there and what is being made") {
    Registry registry;
    const auto mine = make_volume(1000, "data", 100);
    CHECK(registry.insert(mine));
    CHECK_FALSE(registry.insert(make_volume(1000, "data")));
    CHECK(registry.insert(make_volume(1001, "data", 5)));
    registry.reserve(1000, 11);
    CHECK(registry.usage(1000).bytes == 111);
    CHECK(registry.usage(1000).volumes == 2);
    registry.unreserve(1000, 11);
    CHECK(registry.find(1000, "data")->record.id == mine.record.id);
    registry.erase(mine.record.id);
    CHECK(registry.find(mine.record.id) == nullptr);
    CHECK(registry.find(1000, "data") == nullptr);
    CHECK(registry.usage(1000).volumes == 0);
    CHECK(registry.usage(1001).bytes == 5);
}

TEST_CASE("what is in the trash keeps its id and its charge, and its name is free until it comes back under one that is") {
    Registry registry;
    const auto mine = make_volume(1000, "data", 100);
    const VolumeId id = mine.record.id;
    registry.insert(mine);
    registry.trash(id);
    CHECK(registry.find(1000, "data") == nullptr);
    CHECK(registry.find(id)->status() == protocol::VolumeStatus::Trashed);
    CHECK(registry.usage(1000).bytes == 100);
    const auto other = make_volume(1000, "data", 1);
    CHECK(registry.insert(other));
    registry.restore(id, NameText("again"));
    CHECK(registry.find(1000, "again")->record.id == id);
    CHECK(registry.find(id)->status() == protocol::VolumeStatus::Available);
    registry.rename(id, NameText("more"));
    CHECK(registry.find(1000, "again") == nullptr);
    CHECK(registry.find(1000, "more")->record.id == id);
    CHECK(registry.find(1000, "data")->record.id == other.record.id);

    auto loaded = make_volume(1000, "data", 7);
    loaded.trashed = true;
    loaded.record.trashed_until_ns = 5;
    CHECK(registry.insert(loaded)); // the name is another's: that does not matter there
    CHECK(entry_of(*registry.find(loaded.record.id)).trashed_until_ns == 5);
    registry.erase(loaded.record.id);
    CHECK(registry.find(1000, "data")->record.id == other.record.id);
    CHECK(registry.usage(1000).bytes == 101);
}

TEST_CASE("a change of a volume is seen while it lasts, and whoever waits for its end goes on then, also when the volume is gone") {
    EventLoop loop;
    Registry registry;
    const auto volume = make_volume(1, "data");
    const VolumeId id = volume.record.id;
    registry.insert(volume);
    int ended = 0;
    const auto wait = [&](Gate over) -> Detached {
        co_await over;
        ++ended;
        loop.stop();
    };
    {
        const ChangeOfVolume change(loop, registry, *registry.find(id), true);
        REQUIRE(registry.find(id)->change);
        CHECK(registry.find(id)->change->moves);
        wait(registry.find(id)->change->over);
    }
    CHECK_FALSE(registry.find(id)->change);
    CHECK(ended == 0); // never under the hands of the one who ends it
    loop.run();
    CHECK(ended == 1);
    {
        const ChangeOfVolume change(loop, registry, *registry.find(id), false);
        registry.erase(id);
    }
    CHECK(registry.size() == 0);
}

TEST_CASE("memory that is held without a volume counts with the rest") {
    Registry registry;
    registry.hold_memory(1, 10);
    registry.hold_memory(1, 5);
    registry.hold_memory(2, 0);
    CHECK(registry.attached_memory(1) == 15);
    CHECK(registry.attached_memory() == 15);
    registry.release_memory(1, 15);
    registry.release_memory(2, 0);
    CHECK(registry.attached_memory() == 0);
}

TEST_CASE("one writer or any number of readers; a memory volume in one job only") {
    using protocol::Access;
    Registry registry;
    const auto disk = make_volume(1, "disk");
    const auto memory = make_volume(1, "memory", 100, protocol::VolumeType::Memory);
    registry.insert(disk);
    registry.insert(memory);
    const JobId a = make_random_id<JobId>();
    const auto conflict = [&registry](const Volume& volume, Access access) {
        return Registry::conflict(*registry.find(volume.record.id), access);
    };
    CHECK_FALSE(conflict(disk, Access::ReadWrite));
    registry.attach(disk.record.id, {a, Access::ReadOnly});
    CHECK_FALSE(conflict(disk, Access::ReadOnly));
    CHECK(conflict(disk, Access::ReadWrite) == a);
    registry.detach(disk.record.id, a);
    registry.attach(disk.record.id, {a, Access::ReadWrite});
    CHECK(conflict(disk, Access::ReadOnly) == a);
    CHECK(registry.find(disk.record.id)->status() == protocol::VolumeStatus::InUse);
    registry.attach(memory.record.id, {a, Access::ReadOnly});
    CHECK(conflict(memory, Access::ReadOnly) == a);
}

TEST_CASE("attached memory counts memory volumes that a job has, each once, for its owner and for all") {
    using protocol::Access;
    Registry registry;
    const auto one = make_volume(1, "one", 100, protocol::VolumeType::Memory);
    const auto two = make_volume(2, "two", 30, protocol::VolumeType::Memory);
    const auto disk = make_volume(1, "disk", 1000);
    for (const auto& volume : {one, two, disk}) {
        registry.insert(volume);
    }
    CHECK(registry.attached_memory() == 0);
    const JobId a = make_random_id<JobId>();
    const JobId b = make_random_id<JobId>();
    registry.attach(one.record.id, {a, Access::ReadWrite});
    registry.attach(one.record.id, {b, Access::ReadOnly});
    registry.attach(two.record.id, {a, Access::ReadWrite});
    registry.attach(disk.record.id, {a, Access::ReadWrite});
    CHECK(registry.attached_memory(1) == 100);
    CHECK(registry.attached_memory(2) == 30);
    CHECK(registry.attached_memory() == 130);
    registry.detach(one.record.id, a);
    CHECK(registry.attached_memory(1) == 100);
    registry.detach(one.record.id, a); // not there any more: no change
    registry.detach(one.record.id, b);
    CHECK(registry.attached_memory(1) == 0);
    CHECK(registry.attached_memory() == 30);
}

TEST_CASE("pages go through all volumes in order of id, each once") {
    Registry registry;
    for (int i = 0; i < 50; ++i) {
        registry.insert(make_volume(1, ("v" + std::to_string(i)).c_str()));
    }
    std::vector<VolumeId> seen;
    for (VolumeId after; true; after = seen.back()) {
        const auto page = registry.page(after, 7);
        if (page.empty()) {
            break;
        }
        for (const auto* volume : page) {
            seen.push_back(volume->record.id);
        }
    }
    CHECK(seen.size() == 50);
    CHECK(std::is_sorted(seen.begin(), seen.end()));
}

TEST_CASE("coroutines wait for completions and gates, whichever comes first") {
    EventLoop loop;
    const Completion<int> early(loop);
    const Completion<int> late(loop);
    const Gate gate(loop);
    std::vector<int> order;
    early.set(1);
    const auto inner = [](Completion<int> value) -> Task<int> { co_return 10 * co_await value; };
    const auto outer = [&](Completion<int> value) -> Detached {
        order.push_back(co_await inner(value));
        co_await gate;
        order.push_back(99);
        loop.stop();
    };
    outer(early);
    CHECK(order == std::vector{10});
    outer(late);
    loop.after(std::chrono::milliseconds(1), [&] { late.set(2); });
    loop.after(std::chrono::milliseconds(2), [&] { gate.open(); });
    loop.run();
    CHECK(order == std::vector{10, 20, 99, 99});
}

TEST_CASE("a watch that was forgotten hears nothing, also from within a callback") {
    EventLoop loop;
    std::array<int, 2> pipe{};
    REQUIRE(::pipe(pipe.data()) == 0);
    const Fd reading(pipe[0]);
    const Fd writing(pipe[1]);
    int heard = 0;
    EventLoop::Watch watch = 0;
    watch = loop.watch(reading.get(), EPOLLIN, [&](std::uint32_t) {
        ++heard;
        loop.forget(watch);
    });
    REQUIRE(::write(writing.get(), "x", 1) == 1);
    loop.after(std::chrono::milliseconds(5), [&] { loop.stop(); });
    loop.run();
    CHECK(heard == 1);
}

TEST_CASE("without broker.toml the defaults hold, and the printed configuration reads back as itself") {
    const ConfiguredRoot empty("");
    const auto defaults = load_broker_config(empty.path());
    REQUIRE(defaults.has_value());
    CHECK(defaults->bases.at("minimal").directory == empty.path() + "/var/lib/joblet/bases/minimal");
    const std::string printed = print_broker_config(*defaults);
    const ConfiguredRoot again(printed);
    const auto reread = load_broker_config(again.path());
    REQUIRE_MESSAGE(reread.has_value(), (reread ? "" : reread.error()));
    CHECK(print_broker_config(*reread) == printed);
    CHECK(load_broker_config("/var/tmp/there-is-no-such-root").has_value());
}

TEST_CASE("a base whose path has quotes and control characters reads back from the printed configuration") {
    const ConfiguredRoot root("[bases]\nweb = \"/srv/\\\"we\\\\b\\\"\\u0001\"\n");
    const auto config = load_broker_config(root.path());
    REQUIRE_MESSAGE(config.has_value(), (config ? "" : config.error()));
    CHECK(config->bases.at("web").directory == "/srv/\"we\\b\"\x01");
    const ConfiguredRoot again(print_broker_config(*config));
    const auto reread = load_broker_config(again.path());
    REQUIRE_MESSAGE(reread.has_value(), (reread ? "" : reread.error()));
    CHECK(reread->bases.at("web").directory == config->bases.at("web").directory);
}

TEST_CASE("values of broker.toml are taken") {
    const ConfiguredRoot root("[socket]\nmode = \"0660\"\ngroup = \"root\"\nallowed_users = [0, \"root\", 1000]\n[jobs]\nwork_size = "
                              "\"2MiB\"\n[workers]\ncount = 2\n[bases]\nweb = \"/srv/web\"\n[limits]\nvolumes = 3\n");
    const auto config = load_broker_config(root.path());
    REQUIRE_MESSAGE(config.has_value(), (config ? "" : config.error()));
    CHECK(config->socket_mode == 0660);
    CHECK(config->allowed_uids == std::vector<std::uint32_t>{0, 0, 1000});
    CHECK(config->work_bytes == 2 * 1024 * 1024);
    CHECK(config->workers == 2);
    CHECK(config->bases.at("web").directory == "/srv/web");
    CHECK(config->limits.volumes == 3);
}

TEST_CASE("a user has the limits of [limits] but for what his own section says, whichever comes first") {
    const ConfiguredRoot root("[users.1000]\nvolumes = 9\nmemory_size = \"8MiB\"\n[users.root]\nconnections = 7\n[limits]\nvolumes = "
                              "3\nrunning_jobs = 5\n[volumes]\nmemory_budget = \"64MiB\"\nmemory_volume_timeout = \"2h\"\ntrash_retention "
                              "= \"3d\"\nbackend = \"btrfs\"\n");
    const auto config = load_broker_config(root.path());
    REQUIRE_MESSAGE(config.has_value(), (config ? "" : config.error()));
    CHECK(config->limits_of(1000).volumes == 9);
    CHECK(config->limits_of(1000).attached_memory == 8 * 1024 * 1024);
    CHECK(config->limits_of(1000).running_jobs == 5);
    CHECK(config->limits_of(0).connections == 7);
    CHECK(config->limits_of(0).volumes == 3);
    CHECK(config->limits_of(1001).volumes == 3);
    CHECK(config->memory_budget == 64 * 1024 * 1024);
    CHECK(config->memory_volume_timeout == std::chrono::hours(2));
    CHECK(config->trash_retention == std::chrono::hours(72));
    CHECK(config->backend == StoreBackend::Btrfs);
    const std::string printed = print_broker_config(*config);
    const ConfiguredRoot again(printed);
    const auto reread = load_broker_config(again.path());
    REQUIRE_MESSAGE(reread.has_value(), (reread ? "" : reread.error()));
    CHECK(print_broker_config(*reread) == printed);
}

TEST_CASE("a base is a directory, or a directory with the kind of proc that goes with it; minimal and host are always there") {
    const ConfiguredRoot root("[bases]\nweb = \"/srv/web\"\njava = { path = \"/srv/java\", proc = \"masked\" }\n[jobs]\nhost_network = "
                              "true\nlog_size = \"1MiB\"\nlog_size_max = \"2MiB\"\n");
    const auto config = load_broker_config(root.path());
    REQUIRE_MESSAGE(config.has_value(), (config ? "" : config.error()));
    REQUIRE(config->bases.size() == 4);
    CHECK(config->bases.at("web").directory == "/srv/web");
    CHECK(config->bases.at("web").proc == protocol::ProcKind::Pids);
    CHECK(config->bases.at("java").directory == "/srv/java");
    CHECK(config->bases.at("java").proc == protocol::ProcKind::Masked);
    CHECK(config->bases.at("host").is_host);
    CHECK_FALSE(config->bases.at("minimal").is_host);
    CHECK(config->host_network);
    CHECK(config->log_bytes == 1024 * 1024);
    CHECK(config->log_bytes_max == 2 * 1024 * 1024);
    const std::string printed = print_broker_config(*config);
    const ConfiguredRoot again(printed);
    const auto reread = load_broker_config(again.path());
    REQUIRE_MESSAGE(reread.has_value(), (reread ? "" : reread.error()));
    CHECK(print_broker_config(*reread) == printed);
}

TEST_CASE("a job's resources: built in, given, none, and never more by asking for nothing than by asking") {
    const ConfiguredRoot defaults("");
    const auto built_in = load_broker_config(defaults.path());
    REQUIRE(built_in.has_value());
    CHECK_FALSE(built_in->memory.is_given);
    CHECK(built_in->memory.value > 0);
    CHECK(built_in->processes.value == kDefaultProcesses);
    CHECK(built_in->cpus.value == 0);
    CHECK(built_in->required_controllers == 0);

    const ConfiguredRoot root("[jobs]\nmemory = \"64MiB\"\nmemory_max = \"1GiB\"\nprocesses = \"none\"\ncpus_max = 1.5\n[cgroups]\n"
                              "require_controllers = [\"memory\", \"io\"]\n[volumes]\nbackend = \"project-quota\"\n");
    const auto config = load_broker_config(root.path());
    REQUIRE_MESSAGE(config.has_value(), (config ? "" : config.error()));
    CHECK(config->memory.value == 64 * 1024 * 1024);
    CHECK(config->memory.most == 1024 * 1024 * 1024);
    CHECK(config->memory.is_given);
    CHECK(config->processes.value == 0);
    CHECK(config->processes.is_given);
    CHECK(config->cpus.value == 1500); // who asks for nothing has the most that he could ask for
    CHECK(config->cpus.is_given);
    CHECK(config->required_controllers == (protocol::kControllerMemory | protocol::kControllerIo));
    CHECK(controller_names(config->required_controllers) == "io, memory");
    CHECK(config->backend == StoreBackend::ProjectQuota);
    const std::string printed = print_broker_config(*config);
    const ConfiguredRoot again(printed);
    const auto reread = load_broker_config(again.path());
    REQUIRE_MESSAGE(reread.has_value(), (reread ? "" : reread.error()));
    CHECK(print_broker_config(*reread) == printed);
}

TEST_CASE("a bad key or value is refused with file, line and what is allowed") {
    struct Row {
        const char* text;
        const char* line;
        const char* says;
    };
    for (const auto& [text, line, says] : {
             Row{"[socket]\nmode = \"0999\"\n", ":2: ", "octal"},
             Row{"[socket]\nmode = 438\n", ":2: ", "octal"},
             Row{"[socket]\ngroup = \"no-such-group\"\n", ":2: ", "/etc/group"},
             Row{"[socket]\nallowed_users = [\"no-such-user\"]\n", ":2: ", "names"},
             Row{"[socket]\nallowed_users = [4294967295]\n", ":2: ", "names"},
             Row{"[socket]\nallowed_users = 5\n", ":2: ", "names"},
             Row{"\n[sokcet]\n", ":2: ", "socket, admins"},
             Row{"[workers]\ncount = 0\n", ":2: ", "from 1 to"},
             Row{"[workers]\ncount = 1000\n", ":2: ", "from 1 to"},
             Row{"[workers]\ncount = \"4\"\n", ":2: ", "from 1 to"},
             Row{"[workers]\nnumber = 4\n", ":2: ", "count, order_seconds"},
             Row{"[jobs]\nwork_size = \"0\"\n", ":2: ", "at least"},
             Row{"[jobs]\nwork_size = 1048576\n", ":2: ", "quotes"},
             Row{"[jobs]\nwork_size = \"2PiB\"\n", ":2: ", "at most"},
             Row{"[jobs]\n\u00e4 = 1\n", ":2: ", ""}, // outside of quotes: the parser must not be led astray
             Row{"\u1680[jobs]\n", ":1: ", ""},
             Row{"[bases]\nweb = \"/srv/\\u0000web\"\n", ":2: ", "absolute path"},
             Row{"[slots]\nfirst = 1879048193\n", ": ", "multiple of 65536"},
             Row{"[slots]\nfirst = 2147287040\ncount = 10\n", ": ", "end at or below"},
             Row{"[bases]\nweb = \"relative\"\n", ":2: ", "absolute path"},
             Row{"[bases]\n\"a/b\" = \"/x\"\n", ":2: ", "absolute path"},
             Row{"[bases]\nweb = { proc = \"masked\" }\n", ":2: ", "absolute path"},
             Row{"[bases]\nweb = { path = \"/x\", proc = \"all\" }\n", ":2: ", "masked"},
             Row{"[bases]\nweb = { path = \"/x\", other = 1 }\n", ":2: ", "masked"},
             Row{"[jobs]\nhost_network = \"yes\"\n", ":2: ", "true or false"},
             Row{"[jobs]\nlog_size = \"1GiB\"\n", ": ", "_max"},
             Row{"[jobs]\nmemory = \"1MiB\"\n", ":2: ", "at least 4 MiB"},
             Row{"[jobs]\nmemory_max = \"built-in\"\n", ":2: ", "none"},
             Row{"[jobs]\nmemory = \"2GiB\"\nmemory_max = \"1GiB\"\n", ": ", "_max"},
             Row{"[jobs]\nprocesses = \"none\"\nprocesses_max = 100\n", ": ", "_max"},
             Row{"[jobs]\nprocesses = 1\n", ":2: ", "from 2"},
             Row{"[jobs]\nprocesses = 4194305\n", ":2: ", "from 2"},
             Row{"[jobs]\ncpus = -1\n", ":2: ", "0.01"},
             Row{"[jobs]\ncpus = nan\n", ":2: ", "0.01"},
             Row{"[jobs]\ncpus = 0.001\n", ":2: ", "0.01"},
             Row{"[cgroups]\nrequire_controllers = [\"disk\"]\n", ":2: ", "\"pids\""},
             Row{"[cgroups]\nrequire_controllers = \"io\"\n", ":2: ", "a list"},
             Row{"[limits\n", ":1: ", ""},
             Row{"[volumes]\nmemory_volume_timeout = \"1w\"\n", ":2: ", "90s, 10m"},
             Row{"[volumes]\nmemory_volume_timeout = 60\n", ":2: ", "quotes"},
             Row{"[volumes]\ntrash_retention = \"forever\"\n", ":2: ", "90s, 10m"},
             Row{"[volumes]\nbackend = \"zfs\"\n", ":2: ", "\"auto\", \"image\", \"project-quota\" or \"btrfs\""},
             Row{"[volumes]\nbackend = 1\n", ":2: ", "\"auto\""},
             Row{"[volumes]\ncleaner_interval = \"0\"\n", ":2: ", "at least 1s"},
             Row{"[volumes]\nmemory_budget = \"1KiB\"\n", ":2: ", "at least 1.0 MiB"},
             Row{"[users.no-such-user]\nvolumes = 1\n", ":1: ", "/etc/passwd"},
             Row{"[users.4294967295]\nvolumes = 1\n", ":1: ", "user id"},
             Row{"[users.-1]\nvolumes = 1\n", ":1: ", "user id"},
             Row{"[users.1000]\nvolume = 1\n", ":2: ", "volumes, total_size"},
             Row{"[users.1000]\nvolumes = -1\n", ":2: ", "from 0 to"},
             Row{"[users.0]\nvolumes = 1\n[users.root]\nvolumes = 2\n", ":3: ", "twice"},
             Row{"[users]\n1000 = 5\n", ":2: ", "keys of [limits]"},
             Row{"stray = 1\n", ":1: ", "unknown"},
         }) {
        CAPTURE(text);
        const ConfiguredRoot root(text);
        const auto config = load_broker_config(root.path());
        REQUIRE_FALSE(config.has_value());
        CAPTURE(config.error());
        CHECK(config.error().find(root.path() + "/etc/joblet/broker.toml" + line) == 0);
        CHECK(config.error().find(says) != std::string::npos);
    }
}
