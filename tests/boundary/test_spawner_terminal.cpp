// A terminal of the job's own: made by its stage, held by whoever started it.
#include <doctest/doctest.h>

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "tests/boundary/spawner_world.h"

namespace joblet::testing {

namespace {

JobOptions terminal_of(std::vector<std::string> arguments) {
    auto options = run_of(std::move(arguments));
    options.terminal = true;
    options.spec.environment.emplace_back("TERM=vt100");
    return options;
}

// What comes out of the master until `text` has come, the terminal is hung up (EIO), or ten seconds have passed.
std::string read_until(const Fd& master, std::string_view text) {
    std::string seen;
    std::array<char, 4096> part{};
    pollfd polled{master.get(), POLLIN, 0};
    while (seen.find(text) == std::string::npos && ::poll(&polled, 1, 10'000) == 1) {
        const ssize_t size = ::read(master.get(), part.data(), part.size());
        if (size <= 0) {
            break;
        }
        seen.append(part.data(), static_cast<std::size_t>(size));
    }
    return seen;
}

std::string read_all(const Fd& master) {
    return read_until(master, "\x04never");
}

void type(const Fd& master, std::string_view text) {
    REQUIRE(::write(master.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

} // namespace

TEST_CASE("a terminal has a name, is the controlling one, has the size that was asked for, and can be opened again") {
    World world;
    for (const std::uint32_t user : {0U, 1000U, 65534U}) {
        auto options =
            terminal_of({"/bin/sh", "-c",
                         "tty; stty size; echo direct > $(tty); echo tty > /dev/tty; echo out > /dev/stdout; echo err > "
                         "/dev/stderr; stat -c '%u:%g %a' $(tty); test -t 0 && test -t 1 && test -t 2 && echo all; ps -o tty= -p $$"});
        options.rows = 41;
        options.columns = 123;
        options.user = user;
        options.group = user;
        auto job = world.start(std::move(options));
        const Fd master = job.receive_terminal();
        REQUIRE(master.valid());
        CHECK(read_all(master) ==
              fmt::format("/dev/pts/0\r\n41 123\r\ndirect\r\ntty\r\nout\r\nerr\r\n{0}:{0} 620\r\nall\r\npts/0\r\n", user));
        REQUIRE(job.finish());
        REQUIRE(job.agreed());
        CHECK(exit_status_of(*job.agreed()) == 0);
    }
}

TEST_CASE("Ctrl-C ends the foreground process alone, and jobs of a shell are controlled") {
    World world;
    auto job = world.start(terminal_of({"/bin/bash", "--norc", "-i"}));
    const Fd master = job.receive_terminal();
    REQUIRE(master.valid());
    type(master, "PS1=; stty -echo; echo ready$((1+1))\n");
    read_until(master, "ready2");
    type(master, "sh -c 'echo in$((1+1)); exec sleep 60'\n");
    CHECK(read_until(master, "in2").find("in2") != std::string::npos);
    type(master, "\x03");
    type(master, "echo after$((128+$?))\n");
    CHECK(read_until(master, "after").find("no job control") == std::string::npos);
    // A shell continues a job when it has given it the terminal, not before: only then is Ctrl-C for the job. The job forks nothing: a
    // child that is stopped between vfork and exec would keep its parent from stopping
    type(master, "sh -c 'trap \"echo on\\$((3+1))\" CONT; echo in$((2+1)); while :; do :; done'\n");
    CHECK(read_until(master, "in3").find("in3") != std::string::npos);
    type(master, "\x1a");
    CHECK(read_until(master, "Stopped").find("Stopped") != std::string::npos);
    type(master, "fg\n");
    CHECK(read_until(master, "on4").find("on4") != std::string::npos);
    type(master, "\x03");
    type(master, "exit 5\n");
    INFO(read_all(master));
    REQUIRE(job.finish());
    REQUIRE(job.agreed());
    CHECK(job.agreed()->code == 5);
}

TEST_CASE("Ctrl-C ends a command that is alone in the foreground") {
    World world;
    auto job = world.start(terminal_of({"/guest/joblet-guest", "sleep", "60"}));
    const Fd master = job.receive_terminal();
    REQUIRE(master.valid());
    read_until(master, "sleeping");
    type(master, "\x03");
    REQUIRE(job.finish(5000));
    REQUIRE(job.agreed());
    CHECK(job.agreed()->signal == SIGINT);
}

TEST_CASE("a new size of the window is seen, and told by SIGWINCH") {
    World world;
    auto job = world.start(terminal_of({"/guest/joblet-guest", "await-signal"}));
    const Fd master = job.receive_terminal();
    REQUIRE(master.valid());
    read_until(master, "waiting");
    const winsize window{.ws_row = 10, .ws_col = 20, .ws_xpixel = 0, .ws_ypixel = 0};
    REQUIRE(::ioctl(master.get(), TIOCSWINSZ, &window) == 0);
    CHECK(read_until(master, "}").find("{\"signal\":28}") != std::string::npos);
    CHECK(job.finish());
}

TEST_CASE("the close of the master is a SIGHUP, with rnx still there") {
    World world;
    auto job = world.start(terminal_of({"/guest/joblet-guest", "sleep", "60"}));
    Fd master = job.receive_terminal();
    REQUIRE(master.valid());
    read_until(master, "sleeping");
    master.reset();
    REQUIRE(job.finish(5000));
    REQUIRE(job.agreed());
    CHECK(job.agreed()->signal == SIGHUP);
}

TEST_CASE("a master that nobody ever took hangs up, too, when its rnx is gone") {
    World world;
    auto job = world.start(terminal_of({"/guest/joblet-guest", "sleep", "60"}));
    ::usleep(100'000);
    job.hang_up();
    REQUIRE(job.finish(5000));
    REQUIRE(job.in_file);
    CHECK((job.in_file->signal == SIGHUP || job.in_file->step == Step::OpenTerminal));
}

TEST_CASE("a hello that says something else than it brings is none") {
    World world;
    for (const auto& hello : {ControlHello{.magic = kHelloMagic, .flags = 2, .rows = 0, .columns = 0, .zero = 0},
                              ControlHello{.magic = kHelloMagic, .flags = 0, .rows = 24, .columns = 80, .zero = 0},
                              ControlHello{.magic = kHelloMagic, .flags = kHelloTerminal, .rows = 0, .columns = 0, .zero = 0},
                              ControlHello{.magic = kHelloMagic, .flags = 0, .rows = 0, .columns = 0, .zero = 1}}) {
        auto options = guest({"report"});
        options.hello_message = hello; // with three descriptors
        const auto job = world.end_of(std::move(options));
        CHECK(job.kind == ExitKind::SetupFailed);
        CHECK(job.step == Step::CheckStdio);
        CHECK(job.sys_errno == EPROTO);
    }
}

} // namespace joblet::testing
