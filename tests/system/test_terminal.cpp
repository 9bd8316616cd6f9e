// rnx run -t: a real terminal in the job, driven from a real one outside.
#include <doctest/doctest.h>

#include <csignal>

#include <fmt/format.h>

#include "tests/system/installation.h"
#include "tests/system/terminal.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("terminal");

namespace {

Command in_terminal(const Installation& here, const Words& words, uid_t uid = 0) {
    Words all = {"run", "-it"};
    all.insert(all.end(), words.begin(), words.end());
    Command command = here.rnx(all, uid);
    command.environment.emplace_back("TERM=vt100");
    return command;
}

Command shell_in_terminal(const Installation& here, const std::string& script) {
    return in_terminal(here, {"--", "sh", "-c", script});
}

} // namespace

TEST_CASE("the job has a terminal of its own: a name, /dev/tty, a size that follows, job control") {
    const Installation here;
    for (const uid_t uid : {uid_t{0}, kAlice}) {
        CAPTURE(uid);
        Terminal user(in_terminal(here, {"--", "sh"}, uid), 33, 101);
        user.type("PS1='> '; tty; echo ty >/dev/tty; stty size; echo $TERM; echo end-of-first\n");
        REQUIRE_MESSAGE(user.sees("\r\n/dev/pts/0"), user.screen());
        CHECK(user.sees("\r\nty"));
        CHECK(user.sees("33 101"));
        CHECK(user.sees("vt100"));
        CHECK(user.sees("\r\nend-of-first"));
        CHECK_FALSE(user.is_cooked()); // rnx passes every key on
        user.resize(44, 122);
        user.type("sleep 0.3; stty size\n");
        CHECK(user.sees("44 122"));
        // Ctrl-C ends what runs in the foreground, and not the shell
        user.type("sleep 100; echo status $?\n");
        std::this_thread::sleep_for(milliseconds(300));
        user.type("\x03");
        user.type("echo after\n");
        CHECK(user.sees("\r\nafter"));
        // Ctrl-Z stops it, fg goes on
        user.type("sleep 100\n");
        std::this_thread::sleep_for(milliseconds(300));
        user.type("\x1a");
        user.type("jobs; echo listed\n");
        CHECK(user.sees("Stopped"));
        CHECK(user.sees("\r\nlisted"));
        user.type("kill %1; fg 2>/dev/null; echo back; exit 5\n");
        CHECK(user.sees("\r\nback"));
        CHECK(user.wait() == 5);
        CHECK(user.is_cooked());
    }
}

TEST_CASE("a program of the whole screen gets each key as it is") {
    const Installation here;
    Terminal user(shell_in_terminal(here, "vi /work/text; cat /work/text; echo the-end"));
    CHECK(user.sees("text"));
    std::this_thread::sleep_for(milliseconds(300));
    user.type("ihello");
    user.type("\x1b");
    std::this_thread::sleep_for(milliseconds(300)); // vi waits whether the escape begins a longer key
    user.type(":wq\r");
    CHECK(user.sees("hello\r\nthe-end"));
    CHECK(user.wait() == 0);
    CHECK(user.is_cooked());
}

TEST_CASE("a paste of a megabyte arrives whole, while as much comes back") {
    const Installation here;
    // Without echo and line discipline, so that what is counted is what was pasted
    Terminal user(
        shell_in_terminal(here, "stty raw -echo; echo ready; head -c 1048576 | tee /work/../tmp/p | md5sum; stty sane; echo the-end"));
    REQUIRE(user.sees("ready"));
    std::string text;
    for (int i = 0; text.size() < 1'048'576; ++i) {
        text += fmt::format("{:07}\n", i);
    }
    text.resize(1'048'576);
    user.type(text);
    Command sum{{"/usr/bin/md5sum"}};
    sum.input = text;
    CHECK(user.sees(run(sum).out.substr(0, 32), seconds(30)));
    CHECK(user.sees("the-end"));
    CHECK(user.wait() == 0);

    Terminal echo(shell_in_terminal(here, "stty raw -echo; echo ready; cat"));
    REQUIRE(echo.sees("ready"));
    echo.type(text);
    CHECK(echo.sees(text.substr(text.size() - 64), seconds(30)));
    ::kill(echo.pid(), SIGTERM);
    CHECK(echo.wait() != -1);
    CHECK(echo.is_cooked());
}

TEST_CASE("what the user cannot do without a terminal of the job's own he cannot do with it: nobody types for him") {
    const Installation here;
    here.create("tools", "16MiB");
    auto bring = here.shell_command({"-v", "tools:/tools"}, "cat >/tools/guest && chmod 755 /tools/guest");
    bring.input = read_file(binary("joblet-guest"));
    REQUIRE(run(bring).status == 0);
    Terminal user(in_terminal(here, {"-v", "tools:/tools", "--", "/tools/guest", "attempts", "/work"}));
    CHECK(user.sees("\"tiocsti\":\"EPERM\""));
    CHECK(user.wait() != -1);
}

TEST_CASE("a closed window hangs the job up, and it is gone after a while whatever it does") {
    const Installation here;
    here.create("data");
    Terminal user(in_terminal(
        here, {"-v", "data:/data", "--", "sh", "-c", "trap 'echo hup >/data/f' HUP; echo started; while :; do sleep 0.1; done"}));
    REQUIRE(user.sees("started"));
    user.close();
    CHECK(user.wait() != -1);
    CHECK(becomes_true([&here] { return here.job_groups().empty(); }, seconds(20)));
    CHECK(here.shell({"-v", "data:/data"}, "cat /data/f").out == "hup\n");
}

TEST_CASE("without -t the job has the caller's own, and reopening /dev/stdout works for pipes") {
    const Installation here;
    for (const uid_t uid : {uid_t{0}, kAlice}) {
        // Pipes of the user's own, as a shell makes them
        Command command;
        command.uid = uid;
        command.words = {"/bin/sh", "-c",
                         here.root() + "/rnx --socket " + here.socket() +
                             " run -- sh -c 'echo direct; echo again >/dev/stdout; echo to-err >/dev/stderr; tty' 2>&1 | cat"};
        const auto reopened = run(command);
        CHECK(reopened.out == "direct\nagain\nto-err\nnot a tty\n");
    }
}

TEST_SUITE_END();

} // namespace joblet::testing
