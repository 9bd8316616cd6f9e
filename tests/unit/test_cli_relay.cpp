// Bytes between the caller and the terminal of a job, in both directions at once; and the caller's terminal, raw and restored.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>

#include "cli/job_control.h"
#include "cli/progress.h"
#include "cli/raw_terminal.h"
#include "cli/terminal_relay.h"
#include "shared/datagram.h"

using namespace joblet;
using namespace joblet::cli;

namespace {

struct Pty {
    Fd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    Fd slave;
    Pty() {
        REQUIRE(::grantpt(master.get()) == 0);
        REQUIRE(::unlockpt(master.get()) == 0);
        slave = Fd(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(slave.valid());
    }
};

std::pair<Fd, Fd> make_pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    return {Fd(ends[0]), Fd(ends[1])};
}

std::string read_to_end(int fd) {
    std::string text;
    char part[4096];
    for (ssize_t count = 0; (count = ::read(fd, part, sizeof part)) > 0;) {
        text.append(part, static_cast<std::size_t>(count));
    }
    return text;
}

// A job and its stage: runs `script` in a terminal, tells how it ended.
class Stage {
  public:
    explicit Stage(const char* script) {
        child_ = ::fork();
        REQUIRE(child_ >= 0);
        if (child_ == 0) {
            ::setsid();
            const int slave = ::open(::ptsname(pty_.master.get()), O_RDWR);
            for (const int fd : {0, 1, 2}) {
                ::dup2(slave, fd);
            }
            ::execl("/bin/sh", "sh", "-c", script, nullptr);
            ::_exit(127);
        }
        pty_.slave.reset();
        thread_ = std::thread([this] {
            int status = 0;
            ::waitpid(child_, &status, 0);
            ExitRecord record{.magic = kExitMagic, .kind = ExitKind::Exited};
            record.code = WEXITSTATUS(status);
            (void)send_message(control_.second.get(), record, {}, Wait::No);
        });
    }
    Stage(const Stage&) = delete;
    Stage& operator=(const Stage&) = delete;
    ~Stage() {
        thread_.join();
    }
    Fd take_master() {
        return std::move(pty_.master);
    }
    [[nodiscard]] int control() const {
        return control_.first.get();
    }
    [[nodiscard]] int other_control() const {
        return control_.second.get();
    }

  private:
    Pty pty_;
    std::pair<Fd, Fd> control_ = make_seqpacket_pair();
    pid_t child_ = -1;
    std::thread thread_;
};

Fd no_signals() {
    return take_over_signals(WindowSize::Watched);
}

} // namespace

TEST_CASE("what a job writes comes out to its last byte, and its exit record after it") {
    Stage stage("stty -onlcr; head -c 300000 /dev/zero | tr '\\0' x; exit 7");
    const Fd signals = no_signals();
    auto [output, into] = make_pipe();
    auto [input, unused] = make_pipe();
    std::string seen;
    std::thread reader([&] { seen = read_to_end(output.get()); });
    const auto end = relay_terminal({.control = stage.control(),
                                     .signals = signals.get(),
                                     .input = input.get(),
                                     .output = into.get(),
                                     .input_is_terminal = false,
                                     .output_blocks = false},
                                    stage.take_master());
    into.reset();
    reader.join();
    CHECK(end.kind == RelayEnd::Kind::Ended);
    REQUIRE(end.record);
    CHECK(end.record->code == 7);
    CHECK(seen == std::string(300000, 'x'));
}

TEST_CASE("a megabyte that is pasted goes through a job that echoes it, neither direction waiting for the other") {
    Stage stage("stty raw -echo; printf r; exec head -c 1000000");
    const Fd signals = no_signals();
    auto [output, into] = make_pipe();
    auto [input, typed] = make_pipe();
    std::string seen;
    std::thread reader([&] {
        char ready = 0;
        REQUIRE(::read(output.get(), &ready, 1) == 1);
        std::thread typist([&] {
            const std::string paste(1000000, 'p');
            for (std::size_t at = 0; at < paste.size();) {
                const auto count = ::write(typed.get(), paste.data() + at, paste.size() - at);
                if (count <= 0) {
                    break;
                }
                at += static_cast<std::size_t>(count);
            }
        });
        seen = read_to_end(output.get());
        typist.join();
    });
    const auto end = relay_terminal({.control = stage.control(),
                                     .signals = signals.get(),
                                     .input = input.get(),
                                     .output = into.get(),
                                     .input_is_terminal = false,
                                     .output_blocks = false},
                                    stage.take_master());
    into.reset();
    reader.join();
    CHECK(end.record);
    CHECK(seen.size() == 1000000);
}

TEST_CASE("the end of input that is no terminal is the job's end of input, also in the middle of a line") {
    for (const std::string text : {"", "whole\n", "part", "two\nparts"}) {
        CAPTURE(text);
        Stage stage("stty -echo; printf r; cat >/dev/null; exit 5");
        const Fd signals = no_signals();
        auto [output, into] = make_pipe();
        auto [input, typed] = make_pipe();
        std::thread writer([&] {
            char ready = 0;
            REQUIRE(::read(output.get(), &ready, 1) == 1);
            REQUIRE(::write(typed.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
            typed.reset();
        });
        const auto end = relay_terminal({.control = stage.control(),
                                         .signals = signals.get(),
                                         .input = input.get(),
                                         .output = into.get(),
                                         .input_is_terminal = false,
                                         .output_blocks = false},
                                        stage.take_master());
        writer.join();
        REQUIRE(end.record);
        CHECK(end.record->code == 5);
    }
}

TEST_CASE("the job's terminal is as large as the caller's, and grows with it") {
    Pty caller;
    winsize size{.ws_row = 33, .ws_col = 99, .ws_xpixel = 0, .ws_ypixel = 0};
    REQUIRE(::ioctl(caller.slave.get(), TIOCSWINSZ, &size) == 0);
    Stage stage("while [ \"$(stty size)\" != '44 111' ]; do [ \"$(stty size)\" = '33 99' ] && echo first; sleep 0.02; done; echo second");
    const Fd signals = no_signals();
    std::string seen;
    std::thread reader([&] {
        char part[4096];
        while (seen.find("second") == std::string::npos) {
            const auto count = ::read(caller.master.get(), part, sizeof part);
            if (count <= 0) {
                break;
            }
            const bool was_first = seen.find("first") != std::string::npos;
            seen.append(part, static_cast<std::size_t>(count));
            if (!was_first && seen.find("first") != std::string::npos) {
                size = {.ws_row = 44, .ws_col = 111, .ws_xpixel = 0, .ws_ypixel = 0};
                (void)::ioctl(caller.slave.get(), TIOCSWINSZ, &size);
                ::kill(::getpid(), SIGWINCH); // as the kernel would, were this our controlling terminal
            }
        }
    });
    const auto end = relay_terminal({.control = stage.control(),
                                     .signals = signals.get(),
                                     .input = caller.slave.get(),
                                     .output = caller.slave.get(),
                                     .input_is_terminal = true,
                                     .output_blocks = true},
                                    stage.take_master());
    reader.join();
    CHECK(end.record);
    CHECK(seen.find("second") != std::string::npos);
}

TEST_CASE("signals for rnx are passed on, and its own terminal's end is told") {
    SUBCASE("a signal") {
        Stage stage("sleep 0.3");
        const Fd signals = no_signals();
        auto [output, into] = make_pipe();
        auto [input, typed] = make_pipe();
        ::kill(::getpid(), SIGUSR1);
        const auto end = relay_terminal({.control = stage.control(),
                                         .signals = signals.get(),
                                         .input = input.get(),
                                         .output = into.get(),
                                         .input_is_terminal = false,
                                         .output_blocks = false},
                                        stage.take_master());
        CHECK(end.record);
        ControlRequest request;
        const auto received = receive_datagram(stage.other_control(), std::as_writable_bytes(std::span(&request, 1)), Wait::No);
        REQUIRE(received);
        CHECK(request.signal == SIGUSR1);
    }
    SUBCASE("a hang-up") {
        Pty caller;
        Stage stage("read -r x");
        const Fd signals = no_signals();
        auto [output, into] = make_pipe();
        caller.master.reset();
        const auto end = relay_terminal({.control = stage.control(),
                                         .signals = signals.get(),
                                         .input = caller.slave.get(),
                                         .output = into.get(),
                                         .input_is_terminal = true,
                                         .output_blocks = false},
                                        stage.take_master());
        CHECK(end.kind == RelayEnd::Kind::InputGone);
        CHECK_FALSE(end.record);
    }
    SUBCASE("nobody reads") {
        std::signal(SIGPIPE, SIG_IGN);
        Stage stage("yes");
        const Fd signals = no_signals();
        auto [output, into] = make_pipe();
        auto [input, typed] = make_pipe();
        output.reset();
        const auto end = relay_terminal({.control = stage.control(),
                                         .signals = signals.get(),
                                         .input = input.get(),
                                         .output = into.get(),
                                         .input_is_terminal = false,
                                         .output_blocks = false},
                                        stage.take_master());
        CHECK(end.kind == RelayEnd::Kind::OutputBroken);
    }
}

TEST_CASE("a terminal is raw for as long as it is needed") {
    Pty caller;
    termios before{};
    REQUIRE(::tcgetattr(caller.slave.get(), &before) == 0);
    {
        const RawTerminal raw(caller.slave.get());
        termios now{};
        REQUIRE(::tcgetattr(caller.slave.get(), &now) == 0);
        CHECK((now.c_lflag & (ECHO | ICANON | ISIG)) == 0);
    }
    termios after{};
    REQUIRE(::tcgetattr(caller.slave.get(), &after) == 0);
    CHECK(after.c_lflag == before.c_lflag);
    CHECK(after.c_oflag == before.c_oflag);
    CHECK_FALSE(window_size(make_pipe().first.get()));
}

TEST_CASE("what a stage sends is taken only if it makes sense") {
    const auto [ours, stage] = make_seqpacket_pair();
    Pty pty;
    const std::array one = {pty.master.get()};
    REQUIRE(send_message(stage.get(), ControlTerminal{.magic = kTerminalMagic}, one, Wait::No));
    CHECK(receive_from_job(ours.get()).terminal.valid());
    REQUIRE(send_message(stage.get(), ControlTerminal{.magic = 1}, one, Wait::No));
    CHECK_FALSE(receive_from_job(ours.get()).terminal.valid());
    REQUIRE(send_message(stage.get(), ControlTerminal{.magic = kTerminalMagic}, {}, Wait::No));
    CHECK_FALSE(receive_from_job(ours.get()).terminal.valid());
    REQUIRE(send_message(stage.get(), ExitRecord{.magic = kExitMagic, .kind = ExitKind::Exited, .code = 3}, {}, Wait::No));
    CHECK(receive_from_job(ours.get()).record->code == 3);
    REQUIRE(send_message(stage.get(), ExitRecord{}, {}, Wait::No));
    CHECK_FALSE(receive_from_job(ours.get()).record);
}

TEST_CASE("progress fits one line of the terminal") {
    using namespace std::chrono_literals;
    CHECK(progress_text("creating volume \"data\"", 3s, 80) == "creating volume \"data\" … 3s");
    CHECK(progress_text("creating volume \"data\"", 3s, 10) == "creating…");
    CHECK(progress_text("a\x1b[0m", 61s, 80) == "a?[0m … 61s");
    CHECK(progress_text("a", 1s, 0).empty());
}
