// Stands in for joblet-api and everything behind it, so that rnx itself can be tried without root: with its filter, its signals and
// its terminal. Jobs are processes of this one, confined by nothing. fake_daemon SOCKET; ends with whoever reads its stdout.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>

#include "schema/joblet.capnp.h"
#include "shared/datagram.h"
#include "shared/exit_record.h"
#include "shared/fd.h"
#include "shared/job_log.h"

namespace joblet {
namespace {

constexpr const char* kJobId = "06365ce2f601cb14ec17a3885361d722";

class Descriptor final : public rpc::Descriptor::Server {
  public:
    explicit Descriptor(Fd fd) : fd_(std::move(fd)) {}
    kj::Maybe<int> getFd() override {
        return fd_.get();
    }

  private:
    Fd fd_;
};

ExitRecord record_of(int status) {
    ExitRecord record{.magic = kExitMagic};
    if (WIFEXITED(status)) {
        record.kind = ExitKind::Exited;
        record.code = WEXITSTATUS(status);
    } else {
        record.kind = ExitKind::Signaled;
        record.signal = WTERMSIG(status);
    }
    return record;
}

// As a stage does: takes what waits in the control socket, starts the command, says how it ended.
void play_stage(Fd control, std::vector<std::string> command, std::vector<std::string> environment) {
    ControlHello hello;
    auto received = receive_datagram(control.get(), std::as_writable_bytes(std::span(&hello, 1)), Wait::Yes);
    if (!received || hello.magic != kHelloMagic) {
        return;
    }
    const bool terminal = hello.flags == kHelloTerminal;
    if (received->descriptors.size() != (terminal ? 0 : kHelloDescriptors)) {
        return;
    }
    std::array<Fd, 3> stdio;
    if (terminal) {
        Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
        ::grantpt(master.get());
        ::unlockpt(master.get());
        for (auto& fd : stdio) {
            fd = Fd(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
        }
        const winsize size{.ws_row = hello.rows, .ws_col = hello.columns, .ws_xpixel = 0, .ws_ypixel = 0};
        ::ioctl(stdio[0].get(), TIOCSWINSZ, &size);
        const std::array one = {master.get()};
        if (!send_message(control.get(), ControlTerminal{.magic = kTerminalMagic}, one, Wait::Yes)) {
            return;
        }
    } else {
        std::move(received->descriptors.begin(), received->descriptors.end(), stdio.begin());
    }
    std::vector<char*> words;
    words.reserve(command.size() + 1);
    for (auto& word : command) {
        words.push_back(word.data());
    }
    words.push_back(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        ::setsid();
        for (auto& variable : environment) {
            ::putenv(variable.data());
        }
        for (int fd = 0; fd < 3; ++fd) {
            ::dup2(stdio.at(static_cast<std::size_t>(fd)).get(), fd);
        }
        ::ioctl(0, TIOCSCTTY, 0);
        ::execvp(words[0], words.data());
        ::_exit(127);
    }
    stdio = {};
    std::thread signals([&control, child] {
        ControlRequest request;
        while (receive_datagram(control.get(), std::as_writable_bytes(std::span(&request, 1)), Wait::Yes)) {
            ::kill(child, static_cast<int>(request.signal));
        }
    });
    int status = 0;
    ::waitpid(child, &status, 0);
    auto record = record_of(status);
    if (command.back() == "times out") {
        record.flags = kExitTimedOut;
    }
    (void)send_message(control.get(), record, {}, Wait::No);
    ::shutdown(control.get(), SHUT_RDWR);
    signals.join();
}

void fill(rpc::Job::Builder job, bool ended) {
    job.setId(kJobId);
    job.setName("train");
    job.setState(ended ? rpc::JobState::ENDED : rpc::JobState::RUNNING);
    job.setStartedNs(1'700'000'000'000'000'000);
    job.initCommand(1).set(0, "sh");
    job.setBase("minimal");
    if (ended) {
        auto exit = job.initExit();
        exit.setKind(rpc::Exit::Kind::SIGNALED);
        exit.setSignal(SIGKILL);
        exit.setStatus(137);
        exit.setReason("killed by SIGKILL, out of memory");
    }
}

void append(Fd& file, LogStream stream, const std::string& text) {
    const LogRecordHeader header{.time_ns = 1'700'000'000'000'000'000, .stream = stream, .size = static_cast<std::uint32_t>(text.size())};
    const auto record = std::string(reinterpret_cast<const char*>(&header), sizeof header) + text;
    if (::write(file.get(), record.data(), record.size()) != static_cast<ssize_t>(record.size())) {
        std::abort();
    }
}

class Jobs final : public rpc::JobService::Server {
  public:
    explicit Jobs(kj::Timer& timer) : timer_(timer) {}

    kj::Promise<void> run(RunContext context) override {
        const auto request = context.getParams().getRequest();
        auto started = context.getResults().initResult().initValue();
        if (request.getDryRun()) {
            auto world = started.initWorld();
            world.setWorkingDirectory("/work");
            world.setBase("minimal");
            world.setEnvironment(request.getEnvironment());
            return kj::READY_NOW;
        }
        fill(started.initJob(), false);
        if (request.getDetached()) {
            return kj::READY_NOW;
        }
        std::vector<std::string> command;
        for (const auto word : request.getCommand()) {
            command.emplace_back(word.cStr());
        }
        std::vector<std::string> environment;
        for (const auto variable : request.getEnvironment()) {
            environment.emplace_back(variable.cStr());
        }
        auto control = request.getControl();
        return control.getFd().then([control, command, environment](kj::Maybe<int> fd) mutable {
            KJ_IF_MAYBE (number, fd) {
                std::thread(play_stage, Fd(::fcntl(*number, F_DUPFD_CLOEXEC, 3)), command, environment).detach();
            }
        });
    }
    kj::Promise<void> listJobs(ListJobsContext context) override {
        fill(context.getResults().initResult().initValue().initJobs(1)[0], false);
        return kj::READY_NOW;
    }
    kj::Promise<void> getJob(GetJobContext context) override {
        fill(context.getResults().initResult().initValue(), false);
        return kj::READY_NOW;
    }
    kj::Promise<void> wait(WaitContext context) override {
        return timer_.afterDelay(300 * kj::MILLISECONDS).then([context]() mutable {
            fill(context.getResults().initResult().initValue(), true);
        });
    }
    kj::Promise<void> signal(SignalContext context) override {
        context.getResults().initResult().initValue();
        return kj::READY_NOW;
    }
    kj::Promise<void> stop(StopContext context) override {
        return timer_.afterDelay(1500 * kj::MILLISECONDS).then([context]() mutable {
            fill(context.getResults().initResult().initValue(), true);
        });
    }
    kj::Promise<void> remove(RemoveContext context) override {
        auto error = context.getResults().initResult().initError();
        error.setCode(rpc::ErrorCode::IN_USE);
        error.setMessage("the job has not ended");
        return kj::READY_NOW;
    }
    kj::Promise<void> logs(LogsContext context) override {
        std::array<Fd, 2> files = {Fd(::memfd_create("log", MFD_CLOEXEC)), Fd(::memfd_create("log", MFD_CLOEXEC))};
        const LogFileHeader header{.magic = kLogMagic, .zero = 0, .sequence = 1, .dropped = 0};
        if (::write(files[0].get(), &header, sizeof header) != sizeof header) {
            std::abort();
        }
        append(files[0], LogStream::Stdout, "one\ntwo\n");
        append(files[0], LogStream::Stderr, "wrong\n");
        append(files[0], LogStream::Stdout, "three\n");
        // The rest comes while it is read
        std::thread([file = Fd(::fcntl(files[0].get(), F_DUPFD_CLOEXEC, 3))]() mutable {
            ::usleep(150'000);
            append(file, LogStream::Stdout, "later\n");
        }).detach();
        auto log = context.getResults().initResult().initValue();
        log.setFirst(kj::heap<Descriptor>(std::move(files[0])));
        log.setSecond(kj::heap<Descriptor>(std::move(files[1])));
        return kj::READY_NOW;
    }
    kj::Promise<void> prune(PruneContext context) override {
        context.getResults().initResult().initValue().initJobs(1).set(0, kJobId);
        return kj::READY_NOW;
    }

  private:
    kj::Timer& timer_;
};

class Volumes final : public rpc::VolumeService::Server {
  public:
    explicit Volumes(kj::Timer& timer) : timer_(timer) {}

    kj::Promise<void> listVolumes(ListVolumesContext context) override {
        const std::string prefix = context.getParams().getFilter().getNamePrefix();
        std::vector<std::string> names;
        for (const std::string name : {"cache", "data", "data-old"}) {
            if (name.starts_with(prefix)) {
                names.push_back(name);
            }
        }
        auto volumes = context.getResults().initResult().initValue().initVolumes(static_cast<unsigned>(names.size()));
        for (unsigned i = 0; i < volumes.size(); ++i) {
            volumes[i].setName(names[i]);
            volumes[i].setStatus(rpc::VolumeStatus::AVAILABLE);
        }
        return kj::READY_NOW;
    }
    kj::Promise<void> deleteVolume(DeleteVolumeContext context) override {
        const auto time = (context.getParams().getWait() ? 1500 : 0) * kj::MILLISECONDS;
        return timer_.afterDelay(time).then([context]() mutable { context.getResults().initResult().initValue(); });
    }

  private:
    kj::Timer& timer_;
};

class Host final : public rpc::HostService::Server {
    kj::Promise<void> listBases(ListBasesContext context) override {
        auto bases = context.getResults().initResult().initValue().initBases(1);
        bases[0].setName("minimal");
        bases[0].setProc("pids");
        bases[0].setUsable(true);
        return kj::READY_NOW;
    }
};

class Joblet final : public rpc::Joblet::Server {
  public:
    explicit Joblet(kj::Timer& timer) : timer_(timer) {}
    kj::Promise<void> volumes(VolumesContext context) override {
        context.getResults().setService(kj::heap<Volumes>(timer_));
        return kj::READY_NOW;
    }
    kj::Promise<void> jobs(JobsContext context) override {
        context.getResults().setService(kj::heap<Jobs>(timer_));
        return kj::READY_NOW;
    }
    kj::Promise<void> host(HostContext context) override {
        context.getResults().setService(kj::heap<Host>());
        return kj::READY_NOW;
    }

  private:
    kj::Timer& timer_;
};

} // namespace
} // namespace joblet

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: fake_daemon SOCKET\n";
        return 2;
    }
    auto io = kj::setupAsyncIo();
    capnp::TwoPartyServer server(kj::heap<joblet::Joblet>(io.provider->getTimer()));
    auto address = io.provider->getNetwork().parseAddress(std::string("unix:") + argv[1]).wait(io.waitScope);
    auto listener = address->listen();
    std::cout << "ready\n" << std::flush;
    server.listenCapStreamReceiver(*listener, 2).wait(io.waitScope);
}
