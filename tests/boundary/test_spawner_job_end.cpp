// How jobs end, and what fails how, with the real spawner, its stages and real jobs.
#include <doctest/doctest.h>

#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <csignal>
#include <cstdlib>

#include "tests/boundary/spawner_world.h"

namespace joblet::testing {

TEST_CASE("the exit record says how the command ended, the same in the file, to the broker and to rnx") {
    World world;
    auto job = world.start(guest({"exit", "7"}));
    REQUIRE(job.finish());
    const auto record = job.agreed();
    REQUIRE(record);
    CHECK(record->kind == ExitKind::Exited);
    CHECK(record->code == 7);
    CHECK(record->started_ns > 0);
    CHECK(record->ended_ns >= record->started_ns);
    using enum spawner::StageReportType;
    CHECK(job.reports == std::vector{Namespace, Running, Ended});
    CHECK(::ioctl(job.mount_namespace.get(), NS_GET_NSTYPE) == CLONE_NEWNS);

    const auto killed = world.end_of(guest({"kill", "11"}));
    CHECK(killed.kind == ExitKind::Signaled);
    CHECK(killed.signal == 11);
}

TEST_CASE("a command that cannot be executed is told apart: 127 not found, 126 otherwise") {
    struct Failing {
        std::string command;
        int sys_errno;
        int status;
    };
    World world;
    for (const auto& [command, sys_errno, status] : {Failing{"/no/such", ENOENT, 127}, Failing{"nosuchcommand", ENOENT, 127},
                                                     Failing{"/etc/passwd", EACCES, 126}, Failing{"/usr", EACCES, 126}}) {
        INFO(command);
        auto job = world.start(run_of({command}));
        REQUIRE(job.finish());
        const auto record = job.agreed();
        REQUIRE(record);
        CHECK(record->kind == ExitKind::ExecFailed);
        CHECK(record->sys_errno == sys_errno);
        CHECK(exit_status_of(*record) == status);
        CHECK_FALSE(job.said_running);
    }
}

TEST_CASE("a job that is stopped while it starts runs first, and stops then") {
    World world;
    for (const int signal : {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU}) {
        for (int round = 0; round < 10; ++round) {
            CAPTURE(signal);
            auto job = world.start(guest({"exit", "7"}));
            job.signal_as_broker(signal);
            REQUIRE(job.runs());
            job.signal_as_broker(SIGCONT);
            REQUIRE(job.finish());
            CHECK(job.agreed().value_or(ExitRecord{}).code == 7);
        }
    }
}

TEST_CASE("commands are found by the job's own PATH, and scripts run with and without an interpreter line") {
    World world;
    auto by_path = run_of({"joblet-guest", "exit", "3"});
    CHECK(world.end_of(std::move(by_path)).code == 3);

    HostDirectory host;
    auto volume = foreign_volume(host, world.slot, -1);
    const auto script = [&](const char* name, const char* text) {
        std::ofstream(host.path / "volume" / name) << text;
        REQUIRE(::chmod((host.path / "volume" / name).c_str(), 0755) == 0);
        REQUIRE(::chown((host.path / "volume" / name).c_str(), kForeignFirst, kForeignFirst) == 0);
    };
    script("with", "#!/bin/sh\nexit 4\n");
    script("without", "exit 5\n");
    auto run = run_of({"/bin/sh", "-c", "/volumes/data/with; echo $?"});
    run.spec.arguments = {"with"};
    run.spec.environment = {"PATH=/nowhere:/volumes/data"};
    run.volumes.push_back(std::move(volume));
    CHECK(world.end_of(std::move(run)).code == 4);

    auto again = run_of({"/volumes/data/without"});
    auto mount = kernel::clone_mount(AT_FDCWD, (host.path / "volume").c_str());
    REQUIRE(mount);
    REQUIRE(kernel::idmap_mount(mount->get(), world.slot.volume.get()));
    again.volumes.push_back({"data", "", std::move(*mount)});
    CHECK(world.end_of(std::move(again)).code == 5);
}

TEST_CASE("signals of rnx and of the broker reach the whole process group of the command") {
    World world;
    for (const bool as_rnx : {true, false}) {
        auto job = world.start(guest({"await-signal"}));
        job.read_line();
        as_rnx ? job.signal_as_rnx(SIGUSR1) : job.signal_as_broker(SIGUSR1);
        CHECK(job.read_line() == "{\"signal\":10}");
        CHECK(job.finish());
    }
    auto shell = world.start(run_of({"/bin/sh", "-c", "joblet-guest sleep 30; echo never"}));
    shell.read_line();
    shell.signal_as_rnx(SIGINT);
    REQUIRE(shell.finish());
    REQUIRE(shell.agreed());
    CHECK(shell.agreed()->signal == SIGINT);
}

TEST_CASE("when rnx is gone a job gets SIGHUP, and SIGKILL after the grace if it goes on") {
    World world;
    auto polite = world.start(guest({"sleep", "60"}));
    auto deaf = world.start(guest({"ignore-term"}));
    polite.read_line();
    deaf.read_line();
    deaf.hang_up();
    polite.hang_up();
    REQUIRE(polite.finish(2000));
    REQUIRE(polite.in_file);
    CHECK(polite.in_file->signal == SIGHUP);
    CHECK_FALSE(deaf.finish((kHangupGraceSeconds - 3) * 1000));
    REQUIRE(deaf.finish(6000));
    REQUIRE(deaf.in_file);
    CHECK(deaf.in_file->signal == SIGKILL);
}

TEST_CASE("a control socket that talks nonsense is a peer that is gone") {
    World world;
    auto job = world.start(guest({"sleep", "60"}));
    job.read_line();
    job.signal_as_rnx(99);
    REQUIRE(job.finish(2000));
    REQUIRE(job.agreed());
    CHECK(job.agreed()->signal == SIGHUP);
}

TEST_CASE("the record reaches rnx also behind requests that pid 1 never read") {
    World world;
    auto job = world.start(guest({"sleep", "60"}));
    job.read_line();
    const pid_t init = job.stage_pid();
    REQUIRE(init > 0);
    const auto path = "/proc/" + std::to_string(init) + "/task/" + std::to_string(init) + "/children";
    pid_t command = -1;
    std::ifstream(path) >> command;
    REQUIRE(command > 0);
    ::kill(init, SIGSTOP);
    for (int i = 0; i < 8; ++i) {
        job.signal_as_rnx(SIGCONT);
    }
    ::kill(command, SIGKILL);
    ::kill(init, SIGCONT);
    REQUIRE(job.finish());
    const auto record = job.agreed();
    REQUIRE(record);
    CHECK(record->signal == SIGKILL);
}

TEST_CASE("a terminal that is nobody's becomes the job's controlling terminal") {
    World world;
    const Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(master.valid());
    REQUIRE(::grantpt(master.get()) == 0);
    REQUIRE(::unlockpt(master.get()) == 0);
    const Fd terminal(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(terminal.valid());
    auto options = run_of({"/bin/sh", "-c", "test -t 0 && exec 3</dev/tty && echo own"});
    options.hello_stdin = terminal.get();
    auto job = world.start(std::move(options));
    CHECK(job.read_output() == "own\n");
    CHECK(job.finish());
}

TEST_CASE("orphans are reaped, and end with the command") {
    World world;
    CHECK(world.report_of(guest({"orphans", "20"}))["zombies"] == 0);
    auto job = world.start(guest({"orphan"}));
    job.read_line();
    REQUIRE(job.finish(5000));
    CHECK(job.cgroup().wait_empty());
    REQUIRE(job.agreed());
    CHECK(job.agreed()->code == 0);
}

TEST_CASE("a job that is killed from outside leaves no record") {
    World world;
    auto job = world.start(guest({"sleep", "60"}));
    job.read_line();
    job.cgroup().kill();
    REQUIRE(job.finish());
    CHECK_FALSE(job.in_file);
    CHECK_FALSE(job.to_broker);
}

// ---------------------------------------------------------------- what cannot be set up

TEST_CASE("a stage that fails says at which step, on all three ways, and nothing was executed") {
    World world;
    const auto failure = [&](JobOptions options, Step step, int sys_errno) {
        auto job = world.start(std::move(options));
        job.read_output();
        REQUIRE(job.finish());
        const auto record = job.agreed();
        REQUIRE(record);
        CHECK(record->kind == ExitKind::SetupFailed);
        CHECK(step_phrase(record->step) == step_phrase(step));
        CHECK(record->sys_errno == sys_errno);
        CHECK_FALSE(job.said_running);
        CHECK(job.cgroup().wait_empty());
    };
    SUBCASE("no template") {
        const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        auto options = guest({"report"});
        options.template_fd = null.get();
        failure(std::move(options), Step::EnterTemplate, EINVAL);
    }
    SUBCASE("a volume's target that the template does not have") {
        HostDirectory host;
        auto options = guest({"report"});
        options.volumes.push_back(foreign_volume(host, world.slot, -1, "/elsewhere"));
        failure(std::move(options), Step::MoveMounts, ENOENT);
    }
    SUBCASE("no hello in the control socket") {
        auto options = guest({"report"});
        options.hello = false;
        failure(std::move(options), Step::CheckStdio, EPROTO);
    }
    SUBCASE("case_38: a directory as stdin") {
        const Fd directory(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        auto options = guest({"report"});
        options.hello_stdin = directory.get();
        failure(std::move(options), Step::CheckStdio, EPERM);
    }
    SUBCASE("case_38: a namespace as stdin") {
        const Fd ns(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
        auto options = guest({"report"});
        options.hello_stdin = ns.get();
        failure(std::move(options), Step::CheckStdio, EPERM);
    }
    SUBCASE("case_38: a file of proc as stdin") {
        const Fd file(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
        auto options = guest({"report"});
        options.hello_stdin = file.get();
        failure(std::move(options), Step::CheckStdio, EPERM);
    }
    SUBCASE("a working directory that is not there") {
        auto options = guest({"report"});
        options.spec.working_directory = "/nowhere";
        failure(std::move(options), Step::ChangeDirectory, ENOENT);
    }
    SUBCASE("case_17: a working directory by way of a descriptor") {
        auto options = guest({"report"});
        options.spec.working_directory = "/proc/self/fd/3";
        failure(std::move(options), Step::ChangeDirectory, ENOTDIR);
        // Nor any other: among those that its setting up was given is a directory of the host's, that of the job's cgroup
        for (int number = 4; number < 32; ++number) {
            INFO(number);
            auto other = guest({"report"});
            other.spec.working_directory = "/proc/self/fd/" + std::to_string(number);
            CHECK(world.end_of(std::move(other)).step == Step::ChangeDirectory);
        }
    }
    SUBCASE("a spec that somebody could still write") {
        const auto text = encode_job_spec(guest({"report"}).spec);
        REQUIRE(text.has_value());
        const auto spec = [&](unsigned flags) {
            Fd memory(::memfd_create("spec", MFD_CLOEXEC | flags));
            REQUIRE(write_spec_memory(memory.get(), *text) == 0);
            return memory;
        };
        const Fd never_sealed = spec(0);
        auto options = guest({"report"});
        options.spec_fd = never_sealed.get();
        failure(std::move(options), Step::ReadJobSpec, EPERM);
        const Fd mapped = spec(MFD_ALLOW_SEALING);
        void* const mapping = ::mmap(nullptr, 1, PROT_READ | PROT_WRITE, MAP_SHARED, mapped.get(), 0);
        REQUIRE(mapping != MAP_FAILED);
        options = guest({"report"});
        options.spec_fd = mapped.get();
        failure(std::move(options), Step::ReadJobSpec, EBUSY);
        ::munmap(mapping, 1);
    }
    SUBCASE("a spec of nothing") {
        const Fd memory = make_spec_memory();
        auto options = guest({"report"});
        options.spec_fd = memory.get();
        failure(std::move(options), Step::ReadJobSpec, EINVAL);
    }
}

} // namespace joblet::testing
