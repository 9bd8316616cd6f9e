// joblet-api: serves the public interface to whoever the broker lets in. No privilege, and no path to one: what it may ask for
// is in shared/protocol.h.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <kj/async-io.h>
#include <kj/exception.h>

#include "api-unpriv/config.h"
#include "api-unpriv/daemon.h"
#include "api-unpriv/filter_table.h"
#include "api-unpriv/landlock.h"
#include "api-unpriv/store/database.h"
#include "api-unpriv/store/writer.h"
#include "broker-root/layout.h"
#include "shared/close_timer.h"
#include "shared/filter.h"
#include "shared/log.h"

namespace joblet::api {
namespace {

constexpr int kDescriptorsLooked = 1024; // beyond them nothing is inherited by accident

struct Options {
    std::string root;
    bool print_config = false;
};

std::optional<Options> parse_options(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "--print-config") {
            options.print_config = true;
        } else if (argument == "--root" && i + 1 < argc && argv[i + 1][0] == '/') {
            options.root = argv[++i];
            while (options.root.ends_with('/')) {
                options.root.pop_back();
            }
        } else {
            return std::nullopt;
        }
    }
    return options;
}

// jobletd hands over the broker's socket and nothing else; whatever differs was not started by it.
bool descriptors_are_right() {
    int type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(kApiBrokerFd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
        return false;
    }
    for (int fd = kApiBrokerFd + 1; fd < kDescriptorsLooked; ++fd) {
        if (::fcntl(fd, F_GETFD) >= 0) {
            return false;
        }
    }
    return ::fcntl(kApiBrokerFd, F_SETFD, FD_CLOEXEC) == 0;
}

// Each client is a descriptor, and each job that is started four more for a moment.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &limit);
    }
}

bool harden() {
    ::umask(077);
    ::signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    return CloseTimer::prepare() && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

// Before the first byte of the database is read. Where the kernel cannot, the filter has to do alone, and the log says so.
std::expected<Landlock, std::string> keep_to_store(const std::string& directory) {
    const auto landlock = restrict_files_to(directory);
    if (landlock == Landlock::KernelHasNone) {
        log::warning("this kernel has no Landlock (Linux 5.13, landlock among its lsm=): until clients are served, nothing but its user "
                     "keeps joblet-api from files other than its own; afterwards its system call filter does");
    }
    return landlock;
}

// What the RPC library has to say goes to the log, without stack traces, which would need files.
class LibraryVoice final : public kj::ExceptionCallback {
  public:
    void logMessage(kj::LogSeverity severity, const char* /*file*/, int /*line*/, int /*depth*/, kj::String&& message) override {
        if (severity >= kj::LogSeverity::WARNING) {
            log::warning(message.cStr());
        }
    }
    StackTraceMode stackTraceMode() override {
        return StackTraceMode::NONE;
    }
};

struct Store {
    std::optional<Database> database; // empty: the history is not kept
    std::vector<Volume> volumes;
    std::vector<Job> jobs;
};

// Only a newer file stops the start: without one, nothing that matters is lost.
std::expected<Store, StoreError> open_store(const std::string& directory, Synchronous synchronous) {
    Store store;
    std::string note;
    auto database = open_or_rebuild(directory, synchronous, note);
    if (!note.empty()) {
        log::warning(note);
    }
    if (!database) {
        if (database.error().kind == StoreError::Kind::NewerSchema) {
            return std::unexpected(database.error());
        }
        log::error(database.error().message + "; the history of jobs is not kept");
        return store;
    }
    auto volumes = database->load_volumes();
    auto jobs = database->load_jobs();
    if (!volumes || !jobs) {
        log::error((volumes ? jobs.error() : volumes.error()).message + "; the history of jobs is not kept");
        return store;
    }
    return Store{std::move(*database), std::move(*volumes), std::move(*jobs)};
}

// What wait() does, except that in no turn anything that is closed makes it wait: clients' sockets are among that.
void run_to_end(kj::Promise<void> promise, kj::AsyncIoContext& io) {
    for (;;) {
        CloseTimer::start();
        const bool is_over = promise.poll(io.waitScope);
        CloseTimer::stop();
        if (is_over) {
            promise.wait(io.waitScope);
            return;
        }
        io.unixEventPort.wait();
    }
}

int serve(const Options& options, const ApiConfig& config) {
    log::start("joblet-api");
    log::set_level(config.log_level);
    if (::geteuid() == 0 || !descriptors_are_right()) {
        log::error("joblet-api is started by jobletd, without privileges and with the broker's socket alone");
        return kExitConfiguration;
    }
    if (!harden()) {
        log::error("privileges cannot be given up for good");
        return 1;
    }
    const std::string directory = Layout{options.root}.state() + "/api";
    const auto landlock = keep_to_store(directory);
    if (!landlock) {
        log::error(landlock.error());
        return 1;
    }
    auto store = open_store(directory, config.synchronous);
    if (!store) {
        log::error(store.error().message);
        return kExitConfiguration;
    }
    const auto filter = compile_filter(allowed_calls(), {}, OtherCalls::KillProcess);
    if (!filter) {
        log::error(filter.error());
        return 1;
    }

    const LibraryVoice voice;
    auto io = kj::setupAsyncIo(); // before the thread, so that its signals are blocked there as well
    StoreWriter writer(std::move(store->database), *filter);
    Daemon daemon(io, kApiBrokerFd, writer, config, *landlock);
    if (install_filter(*filter) != 0) {
        log::error("the system call filter cannot be installed");
        return 1;
    }

    int status = 0;
    KJ_IF_MAYBE (exception,
                 kj::runCatchingExceptions([&]() { run_to_end(daemon.run(std::move(store->volumes), std::move(store->jobs)), io); })) {
        log::error(exception->getDescription().cStr());
        status = 1;
    }
    if (status == 0) {
        log::info("the broker is gone");
    }
    writer.flush();
    // Not by way of destructors: clients are told by their sockets, and SQLite would remove its log, which takes paths
    ::_exit(status);
}

} // namespace
} // namespace joblet::api

int main(int argc, char** argv) {
    const auto options = joblet::api::parse_options(argc, argv);
    if (!options) {
        static_cast<void>(std::fputs("usage: joblet-api [--root DIR] [--print-config]\n", stderr));
        return joblet::kExitConfiguration;
    }
    const auto config = joblet::api::load_api_config(options->root);
    if (!config) {
        static_cast<void>(std::fprintf(stderr, "%s\n", config.error().c_str()));
        return joblet::kExitConfiguration;
    }
    if (options->print_config) {
        static_cast<void>(std::fputs(joblet::api::print_api_config(*config).c_str(), stdout));
        return std::fflush(stdout) == 0 ? 0 : 1;
    }
    return joblet::api::serve(*options, *config);
}
