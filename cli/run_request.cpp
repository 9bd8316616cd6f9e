#include "cli/run_request.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli/command_parts.h"
#include "cli/environment.h"
#include "cli/raw_terminal.h"
#include "shared/datagram.h"
#include "shared/exit_record.h"
#include "shared/stdio_kind.h"

namespace joblet::cli {
namespace {

[[noreturn]] void fail_at_file(const std::string& file, const std::string& why) {
    throw CommandFailure({ErrorCode::InvalidArgument, "the environment file " + file + " could not be read: " + why, ""});
}

std::string content_of(int fd, const std::string& file) {
    std::string text;
    std::array<char, 4096> part{};
    for (;;) {
        const ssize_t count = ::read(fd, part.data(), part.size());
        if (count == 0) {
            return text;
        }
        if (count > 0) {
            text.append(part.data(), static_cast<std::size_t>(count));
        } else if (errno != EINTR) {
            fail_at_file(file, std::strerror(errno));
        }
        if (text.size() > kEnvironmentFileMax) {
            fail_at_file(file, "it is larger than 2 MiB");
        }
    }
}

template <class Value> Value or_fail(std::expected<Value, Error> value) {
    if (!value) {
        throw CommandFailure(std::move(value.error()));
    }
    return std::move(*value);
}

// A job is another user than we are, and may open /dev/stdout all the same: of an anonymous pipe everybody may know the mode, since
// only who has it open can reach it. A FIFO with a name is left alone.
void let_reopen_pipes() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        struct statx info{};
        struct statfs system{};
        if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &info) == 0 && S_ISFIFO(info.stx_mode) &&
            ::fstatfs(fd, &system) == 0 && system.f_type == PIPEFS_MAGIC) {
            (void)::fchmod(fd, 0666); // EPERM: somebody else made it; then the job can only use it as it is
        }
    }
}

template <class List> void fill_texts(List list, const std::vector<std::string>& texts) {
    for (unsigned i = 0; i < list.size(); ++i) {
        list.set(i, texts[i]);
    }
}

} // namespace

Opened open_for(const Run& run) {
    Opened opened;
    for (const auto& file : run.environment_files) {
        Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
        if (!fd.valid()) {
            fail_at_file(file, std::strerror(errno));
        }
        opened.environment_files.push_back(std::move(fd));
    }
    if (run.terminal && window_size(STDOUT_FILENO)) {
        // O_NONBLOCK belongs to the open file, which our stdout shares with the shell's: so a file of our own
        opened.output = Fd(::open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    }
    return opened;
}

std::vector<std::string> environment_of(const Run& run, const Opened& opened) {
    std::vector<std::string> environment;
    const auto add = [&environment](std::vector<std::string> more) {
        environment.insert(environment.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    };
    // First: of a variable that is there twice the last counts
    if (const char* terminal = std::getenv("TERM"); run.terminal && terminal != nullptr) {
        environment.push_back(std::string("TERM=") + terminal);
    }
    for (std::size_t i = 0; i < run.environment_files.size(); ++i) {
        const auto& file = run.environment_files[i];
        add(or_fail(parse_environment_file(content_of(opened.environment_files.at(i).get(), file), file)));
    }
    add(or_fail(resolve_variables(run.environment, [](const std::string& name) { return std::getenv(name.c_str()); })));
    return environment;
}

void fill(rpc::RunRequest::Builder request, const Run& run, const std::vector<std::string>& environment) {
    fill_texts(request.initCommand(static_cast<unsigned>(run.command.size())), run.command);
    fill_texts(request.initEnvironment(static_cast<unsigned>(environment.size())), environment);
    auto volumes = request.initVolumes(static_cast<unsigned>(run.volumes.size()));
    for (unsigned i = 0; i < volumes.size(); ++i) {
        volumes[i].setVolume(run.volumes[i].name);
        volumes[i].setTarget(run.volumes[i].target);
        volumes[i].setReadOnly(run.volumes[i].read_only);
    }
    request.setName(run.name);
    request.setBase(run.base);
    request.setHostName(run.host_name);
    request.setWorkingDirectory(run.working_directory);
    request.setUser(run.user);
    request.setGroup(run.group);
    request.setTimeoutNs(static_cast<std::uint64_t>(std::chrono::nanoseconds(run.timeout).count()));
    request.setNetwork(run.host_network ? rpc::RunRequest::Network::HOST : rpc::RunRequest::Network::NONE);
    request.setReadOnlyWork(run.read_only_work);
    request.setWorkBytes(run.work_bytes);
    request.setTmpBytes(run.tmp_bytes);
    request.setDetached(run.detached);
    request.setRemoveAfterwards(run.remove_afterwards);
    request.setLogMaxBytes(run.log_bytes);
    request.setDryRun(run.dry_run);
    if (run.limits == JobLimits{}) { // which a daemon without them takes, too
        return;
    }
    auto limits = request.initLimits();
    limits.setMemoryBytes(run.limits.memory_bytes);
    limits.setSwapBytes(run.limits.swap_bytes);
    limits.setProcesses(run.limits.processes);
    limits.setCpuMilli(run.limits.cpu_milli);
    fill(limits.initIo(), run.limits.io);
}

void check_stdio(const Run& run) {
    constexpr std::array kNames = {"standard input", "standard output", "standard error"};
    for (int fd = STDIN_FILENO; !run.terminal && fd <= STDERR_FILENO; ++fd) {
        if (!is_acceptable_stdio(fd)) {
            throw CommandFailure({ErrorCode::InvalidArgument,
                                  std::string(kNames.at(static_cast<std::size_t>(fd))) + " is something that no job may have",
                                  "it can be a pipe, a socket, a regular file, a terminal or /dev/null; redirect it, or put 'cat |' or "
                                  "'| cat' in between"});
        }
    }
}

void send_hello(int control, const Run& run) {
    constexpr std::array kStdio = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    bool is_sent = false;
    if (run.terminal) {
        auto size = window_size(STDIN_FILENO);
        if (!size) {
            size = window_size(STDOUT_FILENO);
        }
        const ControlHello hello{.magic = kHelloMagic,
                                 .flags = kHelloTerminal,
                                 .rows = size ? size->ws_row : std::uint16_t{0},
                                 .columns = size ? size->ws_col : std::uint16_t{0},
                                 .zero = 0};
        is_sent = send_message(control, hello, {}, Wait::No);
    } else {
        let_reopen_pipes();
        is_sent = send_message(control, ControlHello{.magic = kHelloMagic}, kStdio, Wait::No);
    }
    if (!is_sent) {
        throw CommandFailure(
            {ErrorCode::Internal, std::string("could not hand over standard input and output: ") + std::strerror(errno), ""});
    }
}

} // namespace joblet::cli
