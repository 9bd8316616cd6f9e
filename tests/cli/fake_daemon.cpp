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

// What was asked, on a host that has all controllers
void fill(rpc::EffectiveLimits::Builder limits, rpc::ResourceLimits::Reader asked) {
    limits.setMemoryBytes(asked.getMemoryBytes());
    limits.setSwapBytes(asked.getSwapBytes());
    limits.setProcesses(asked.getProcesses());
    limits.setCpuMilli(asked.getCpuMilli());
    limits.setIo(asked.getIo());
    limits.initDevices(1).set(0, "8:0");
    auto controllers = limits.initControllers(2);
    controllers.set(0, "io");
    controllers.set(1, "memory");
}

void fill(rpc::Job::Builder job, bool ended) {
    job.setId(kJobId);
    job.setName("train");
    job.setState(ended ? rpc::JobState::ENDED : rpc::JobState::RUNNING);
    job.setStartedNs(1'700'000'000'000'000'000);
    job.initCommand(1).set(0, "sh");
    job.setBase("minimal");
    job.initLimits().setMemoryBytes(1048576);
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

class ControlSocket final : public rpc::ControlSocket::Server {};

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
            fill(world.initLimits(), request.getLimits());
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
        if (control_.valid() && request.hasControl()) {
            std::thread(play_stage, std::move(control_), command, environment).detach();
        }
        return kj::READY_NOW;
    }
    kj::Promise<void> openControl(OpenControlContext context) override {
        auto [clients, jobs] = make_seqpacket_pair();
        control_ = std::move(jobs);
        auto given = context.getResults().initResult().initValue();
        given.setEnd(kj::heap<Descriptor>(std::move(clients)));
        given.setControl(kj::heap<ControlSocket>());
        return kj::READY_NOW;
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
    Fd control_; // the job's end of the last one that was given
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
            volumes[i].setId(names[i]);
            volumes[i].setName(names[i]);
            volumes[i].setStatus(rpc::VolumeStatus::AVAILABLE);
        }
        return kj::READY_NOW;
    }
    // A volume "big" takes its time
    kj::Promise<void> resizeVolume(ResizeVolumeContext context) override {
        const bool is_big = std::string(context.getParams().getSelector().getVolume()) == "big";
        return timer_.afterDelay((is_big ? 1500 : 0) * kj::MILLISECONDS).then([context]() mutable {
            const auto asked = context.getParams();
            auto volume = context.getResults().initResult().initValue();
            volume.setName(asked.getSelector().getVolume());
            volume.setSizeBytes(asked.getSizeBytes());
            volume.setInodes(asked.getInodes());
            volume.setSoftSizeBytes(asked.getSoftSizeBytes() == ~std::uint64_t{0} ? 0 : asked.getSoftSizeBytes());
            volume.setSoftInodes(asked.getSoftInodes());
        });
    }
    kj::Promise<void> createVolume(CreateVolumeContext context) override {
        const auto asked = context.getParams();
        auto volume = context.getResults().initResult().initValue().initVolume();
        volume.setName(asked.getName());
        volume.setType(asked.getType());
        volume.setSizeBytes(asked.getSizeBytes());
        volume.setSoftSizeBytes(asked.getSoftSizeBytes());
        volume.setSoftInodes(asked.getSoftInodes());
        volume.setIo(asked.getIo());
        volume.setNoSwap(asked.getType() == rpc::VolumeType::MEMORY);
        return kj::READY_NOW;
    }
    // Ids are names here
    kj::Promise<void> getVolume(GetVolumeContext context) override {
        const std::string name = context.getParams().getSelector().getVolume();
        auto result = context.getResults().initResult();
        if (name == "lost") {
            refuse(result.initError());
            return kj::READY_NOW;
        }
        auto volume = result.initValue();
        volume.setId(name);
        volume.setName(name);
        return kj::READY_NOW;
    }
    // Of all volumes those of one page, in which there is no room for the last one; data-old is removed meanwhile.
    kj::Promise<void> getUsage(GetUsageContext context) override {
        const auto asked = context.getParams().getVolumes();
        auto result = context.getResults().initResult();
        std::vector<std::string> names;
        for (const auto id : asked) {
            names.emplace_back(id.cStr());
        }
        if (names.empty()) {
            names.emplace_back("cache");
        }
        if (names.front() == "data-old") {
            refuse(result.initError());
            return kj::READY_NOW;
        }
        auto volumes = result.initValue().initVolumes(static_cast<unsigned>(names.size()));
        for (unsigned i = 0; i < volumes.size(); ++i) {
            volumes[i].setId(names[i]);
            volumes[i].setUsedBytes(524288);
            volumes[i].setSizeBytes(1048576);
            volumes[i].setUsedInodes(3);
            if (names[i] == "data") {
                volumes[i].setSoftSizeBytes(262144);
                volumes[i].setGraceEndsNs(1'700'000'000'000'000'000);
            }
        }
        return kj::READY_NOW;
    }
    kj::Promise<void> deleteVolume(DeleteVolumeContext context) override {
        const auto time = (context.getParams().getWait() ? 1500 : 0) * kj::MILLISECONDS;
        return timer_.afterDelay(time).then([context]() mutable { context.getResults().initResult().initValue(); });
    }

  private:
    static void refuse(rpc::Error::Builder error) {
        error.setCode(rpc::ErrorCode::NOT_FOUND);
        error.setMessage("there is no such volume");
    }
    kj::Timer& timer_;
};

// Has one difference while there is a file beside its socket with this at the end of its name.
constexpr const char* kDifferent = ".different";

class Host final : public rpc::HostService::Server {
  public:
    explicit Host(std::string socket) : socket_(std::move(socket)) {}

    kj::Promise<void> doctor(DoctorContext context) override {
        auto report = context.getResults().initResult().initValue();
        auto check = report.initChecks(1)[0];
        check.setSubject("backend btrfs");
        check.setDetail("the store is not on btrfs");
        check.setLost("volumes of this backend");
        check.setRemedy("put the store on btrfs");
        report.setCompared(true);
        if (::access((socket_ + kDifferent).c_str(), F_OK) == 0) {
            report.initDifferences(1).set(0, "one volume is not in the store");
        }
        report.setSlotFirst(0x70000000);
        report.setSlotCount(16);
        return kj::READY_NOW;
    }
    kj::Promise<void> listBases(ListBasesContext context) override {
        auto bases = context.getResults().initResult().initValue().initBases(1);
        bases[0].setName("minimal");
        bases[0].setProc("pids");
        bases[0].setUsable(true);
        return kj::READY_NOW;
    }

  private:
    std::string socket_;
};

class Joblet final : public rpc::Joblet::Server {
  public:
    Joblet(kj::Timer& timer, std::string socket) : timer_(timer), socket_(std::move(socket)) {}
    kj::Promise<void> volumes(VolumesContext context) override {
        context.getResults().setService(kj::heap<Volumes>(timer_));
        return kj::READY_NOW;
    }
    kj::Promise<void> jobs(JobsContext context) override {
        context.getResults().setService(kj::heap<Jobs>(timer_));
        return kj::READY_NOW;
    }
    kj::Promise<void> host(HostContext context) override {
        context.getResults().setService(kj::heap<Host>(socket_));
        return kj::READY_NOW;
    }

  private:
    kj::Timer& timer_;
    std::string socket_;
};

} // namespace
} // namespace joblet

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: fake_daemon SOCKET\n";
        return 2;
    }
    auto io = kj::setupAsyncIo();
    capnp::TwoPartyServer server(kj::heap<joblet::Joblet>(io.provider->getTimer(), argv[1]));
    auto address = io.provider->getNetwork().parseAddress(std::string("unix:") + argv[1]).wait(io.waitScope);
    auto listener = address->listen();
    std::cout << "ready\n" << std::flush;
    server.listenCapStreamReceiver(*listener, 2).wait(io.waitScope);
}
