#include "tests/boundary/spawner_harness.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/namespace.h"
#include "broker-root/layout.h"
#include "shared/datagram.h"

namespace joblet::testing {

namespace {

using kernel::Attributes;
namespace fs = std::filesystem;

template <class T> T need(kernel::Result<T> result, const char* what) {
    if (!result) {
        throw std::runtime_error(std::string(what) + ": " + std::strerror(result.error()));
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*result);
    }
}

void need(bool good, const char* what) {
    if (!good) {
        throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
    }
}

fs::path binaries() {
    return JOBLET_BINARIES;
}

std::pair<Fd, Fd> make_pipe() {
    std::array<int, 2> ends{};
    need(::pipe2(ends.data(), O_CLOEXEC) == 0, "pipe");
    return {Fd(ends[0]), Fd(ends[1])};
}

fs::path cgroup_root() {
    std::ifstream mounts("/proc/mounts");
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream words(line);
        std::string source;
        std::string target;
        std::string type;
        if (words >> source >> target >> type && type == "cgroup2") {
            return target;
        }
    }
    throw std::runtime_error("no cgroup2 is mounted");
}

} // namespace

// ---------------------------------------------------------------- the spawner

SpawnerProcess::SpawnerProcess(int leaked) {
    auto [ours, theirs] = make_seqpacket_pair();
    const std::string program = (binaries() / "joblet-spawner").string();
    pid_ = ::fork();
    need(pid_ >= 0, "fork");
    if (pid_ == 0) {
        const int null = ::open("/dev/null", O_RDWR);
        const int high = ::fcntl(theirs.get(), F_DUPFD, 100);
        ::dup2(null, STDIN_FILENO);
        ::dup2(high, kSpawnerBrokerFd);
        ::close_range(kSpawnerBrokerFd + 1, ~0U, 0);
        for (int i = 0; i < leaked; ++i) {
            ::open("/", O_RDONLY | O_DIRECTORY);
        }
        ::execl(program.c_str(), "joblet-spawner", "--root", "/nowhere", nullptr);
        ::_exit(99);
    }
    socket_ = std::move(ours);
}

SpawnerProcess::~SpawnerProcess() {
    socket_.reset();
    if (pid_ > 0) {
        wait_exit();
    }
}

int SpawnerProcess::wait_exit() {
    int status = -1;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
}

void SpawnerProcess::kill_now() {
    ::kill(pid_, SIGKILL);
    wait_exit();
}

std::optional<SpawnerAnswer> SpawnerProcess::order(std::span<const std::byte> bytes, std::span<const int> descriptors) {
    if (!send_datagram(socket_.get(), bytes, descriptors, Wait::Yes)) {
        return std::nullopt;
    }
    std::array<std::byte, sizeof(spawner::Answer)> buffer{};
    auto received = receive_datagram(socket_.get(), buffer, Wait::Yes);
    if (!received || received->size != sizeof(spawner::Answer)) {
        return std::nullopt;
    }
    SpawnerAnswer out;
    std::memcpy(&out.answer, buffer.data(), sizeof out.answer);
    out.descriptors = std::move(received->descriptors);
    return out;
}

// ---------------------------------------------------------------- cgroup

TestCgroup::TestCgroup() {
    static int next = 0; // of this test process; a group that was killed is never used again
    path_ = cgroup_root() / ("joblet-test-" + std::to_string(::getpid()) + "-" + std::to_string(next++));
    need(::mkdir(path_.c_str(), 0755) == 0, "mkdir of a cgroup");
    fd_ = Fd(::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

TestCgroup::~TestCgroup() {
    kill();
    static_cast<void>(wait_empty());
    ::rmdir(path_.c_str());
}

void TestCgroup::kill() const {
    std::ofstream(path_ / "cgroup.kill") << 1;
}

bool TestCgroup::wait_empty() const {
    for (int round = 0; round < 500; ++round) {
        std::ifstream events(path_ / "cgroup.events");
        const std::string text{std::istreambuf_iterator<char>(events), {}};
        if (text.find("populated 0") != std::string::npos) {
            return true;
        }
        ::usleep(10'000);
    }
    return false;
}

// ---------------------------------------------------------------- template

namespace {

Fd device_directory() {
    // Not read-only yet: nodes are made in it first
    auto dev = need(kernel::make_tmpfs({.size_bytes = 65536, .inodes = 64, .mode = 0755}, Attributes::NoSuidNoExec), "tmpfs for /dev");
    struct Node {
        const char* name;
        unsigned major;
        unsigned minor;
    };
    const mode_t before = ::umask(0);
    for (const auto& [name, major, minor] :
         {Node{"null", 1, 3}, Node{"zero", 1, 5}, Node{"full", 1, 7}, Node{"random", 1, 8}, Node{"urandom", 1, 9}, Node{"tty", 5, 0}}) {
        need(::mknodat(dev.get(), name, S_IFCHR | 0666, makedev(major, minor)) == 0, "mknod");
    }
    ::umask(before);
    struct Link {
        const char* name;
        const char* target;
    };
    for (const auto& [name, target] : {Link{"fd", "/proc/self/fd"}, Link{"stdin", "/proc/self/fd/0"}, Link{"stdout", "/proc/self/fd/1"},
                                       Link{"stderr", "/proc/self/fd/2"}, Link{"ptmx", "pts/ptmx"}}) {
        need(::symlinkat(target, dev.get(), name) == 0, "symlink");
    }
    for (const char* name : {"shm", "pts"}) {
        need(::mkdirat(dev.get(), name, 0755) == 0, "mkdir");
    }
    need(kernel::make_read_only(dev.get()), "read-only");
    return dev;
}

Fd clone_read_only(const fs::path& path) {
    auto clone = need(kernel::clone_mount(AT_FDCWD, path.c_str()), "open_tree");
    need(kernel::set_attributes(clone.get(), Attributes::ReadOnlyNoSuidNoDev), "mount_setattr");
    return clone;
}

Fd build_template() {
    const auto proc = need(kernel::make_proc(kernel::HidePid::No, Attributes::NoSuidNoDevNoExec), "proc");
    const auto root = need(kernel::make_tmpfs({.size_bytes = 65536, .inodes = 64, .mode = 0755}, Attributes::NoSuidNoDev), "tmpfs for /");
    for (const char* name : {"proc", "dev", "tmp", "work", "volumes", "usr", "etc", "guest", "data"}) {
        need(::mkdirat(root.get(), name, 0755) == 0, "mkdir");
    }
    for (const char* name : {"bin", "sbin", "lib", "lib64"}) {
        need(::symlinkat((std::string("usr/") + name).c_str(), root.get(), name) == 0, "symlink");
    }
    const auto usr = clone_read_only("/usr");
    const auto etc = clone_read_only("/etc");
    const auto guest = clone_read_only(binaries());
    const auto dev = device_directory();

    need(kernel::unshare_mounts(proc.get()), "unshare");
    need(kernel::move_mount_to(root.get(), AT_FDCWD, "/"), "attach the root");
    need(kernel::move_mount_to(usr.get(), root.get(), "usr"), "attach /usr");
    need(kernel::move_mount_to(etc.get(), root.get(), "etc"), "attach /etc");
    need(kernel::move_mount_to(guest.get(), root.get(), "guest"), "attach /guest");
    need(kernel::move_mount_to(dev.get(), root.get(), "dev"), "attach /dev");
    need(kernel::make_read_only(root.get()), "read-only");
    need(kernel::pivot_to(root.get()), "pivot");
    return need(kernel::own_mount_namespace(proc.get()), "ns/mnt");
}

} // namespace

Fd make_template() {
    auto [ours, theirs] = make_seqpacket_pair();
    const pid_t child = ::fork();
    need(child >= 0, "fork");
    if (child == 0) {
        std::string said = "ok";
        Fd made;
        try {
            made = build_template();
        } catch (const std::exception& error) {
            said = error.what();
        }
        const std::array descriptors = {made.get()};
        send_datagram(theirs.get(), std::as_bytes(std::span(said)), std::span(descriptors).first(made.valid() ? 1 : 0), Wait::Yes);
        ::_exit(0);
    }
    theirs.reset();
    std::array<std::byte, 512> buffer{};
    auto received = receive_datagram(ours.get(), buffer, Wait::Yes);
    ::waitpid(child, nullptr, 0);
    if (!received || received->descriptors.size() != 1) {
        throw std::runtime_error("no template: " + std::string(reinterpret_cast<const char*>(buffer.data())));
    }
    return std::move(received->descriptors.front());
}

Slot make_slot(SpawnerProcess& spawner) {
    spawner::MakeSlot request;
    request.header.type = spawner::OrderType::MakeSlot;
    request.slot_first = kTestSlot;
    auto answer = spawner.order(request);
    if (!answer || answer->answer.code != ErrorCode::Ok || answer->descriptors.size() != 2) {
        throw std::runtime_error("no slot");
    }
    return {std::move(answer->descriptors[0]), std::move(answer->descriptors[1])};
}

// ---------------------------------------------------------------- a job

namespace {

Fd slot_tmpfs(std::uint32_t mode) {
    return need(kernel::make_tmpfs({.size_bytes = 1 << 20, .inodes = 1000, .mode = mode, .uid = kTestSlot, .gid = kTestSlot},
                                   Attributes::NoSuidNoDev),
                "tmpfs");
}

Fd volumes_directory(const std::vector<TestVolume>& volumes) {
    auto made = need(kernel::make_tmpfs({.size_bytes = 65536, .inodes = 64, .mode = 0755}, Attributes::NoSuidNoDevNoExec), "tmpfs");
    for (const auto& volume : volumes) {
        ::mkdirat(made.get(), volume.name.c_str(), 0755);
    }
    return made;
}

} // namespace

TestJob::TestJob(SpawnerProcess& spawner, const Slot& slot, JobOptions options) {
    const Fd own_template = options.template_fd < 0 ? make_template() : Fd();
    record_ = Fd(::memfd_create("exit-record", MFD_CLOEXEC));
    ::fcntl(record_.get(), F_SETFL, O_APPEND);
    auto [status, stages_status] = make_seqpacket_pair();
    auto [control, stages_control] = make_seqpacket_pair();
    auto [output, jobs_output] = make_pipe();
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (options.output_mode >= 0) {
        need(::fchmod(jobs_output.get(), static_cast<mode_t>(options.output_mode)) == 0, "fchmod of a pipe");
    }
    const bool detached = (options.flags & spawner::kLaunchDetached) != 0;
    if (options.terminal) {
        const ControlHello hello{
            .magic = kHelloMagic, .flags = kHelloTerminal, .rows = options.rows, .columns = options.columns, .zero = 0};
        need(send_message(control.get(), hello, {}, Wait::No), "hello");
    } else if (options.hello && !detached) {
        const std::array stdio = {options.hello_stdin < 0 ? null.get() : options.hello_stdin, jobs_output.get(), jobs_output.get()};
        need(send_message(control.get(), options.hello_message, stdio, Wait::No), "hello");
    }
    Fd spec;
    if (options.spec_fd < 0) {
        const auto encoded = encode_job_spec(options.spec);
        spec = make_spec_memory();
        need(encoded.has_value() && spec.valid() && write_spec_memory(spec.get(), *encoded) == 0, "a command");
    }
    const Fd volumes = volumes_directory(options.volumes);
    const Fd work = slot_tmpfs(options.read_only_work ? 0755 : 0700);
    if (options.read_only_work) {
        need(kernel::make_read_only(work.get()), "read-only");
    }
    const Fd tmp = slot_tmpfs(01777);
    const Fd shm = slot_tmpfs(01777);
    const Fd pts = need(kernel::make_devpts(kTestSlot, kTestSlot), "devpts");

    spawner::Launch launch;
    launch.header.type = spawner::OrderType::Launch;
    launch.host_name = NameText(options.host_name);
    launch.kind = options.kind;
    launch.flags = options.flags;
    launch.timeout_ns = options.timeout_ns;
    launch.user = options.user;
    launch.group = options.group;
    launch.log_bytes = detached ? options.log_bytes : 0;
    launch.volume_count = static_cast<std::uint32_t>(options.volumes.size());
    std::vector<int> descriptors(spawner::kLaunchFixed);
    descriptors[spawner::kLaunchTemplate] = options.template_fd < 0 ? own_template.get() : options.template_fd;
    descriptors[spawner::kLaunchUserNamespace] = slot.job.get();
    descriptors[spawner::kLaunchCgroup] = cgroup_.fd();
    descriptors[spawner::kLaunchExitRecord] = record_.get();
    descriptors[spawner::kLaunchSpec] = options.spec_fd < 0 ? spec.get() : options.spec_fd;
    descriptors[spawner::kLaunchControl] = stages_control.get();
    descriptors[spawner::kLaunchStatus] = stages_status.get();
    descriptors[spawner::kLaunchVolumesMount] = volumes.get();
    descriptors[spawner::kLaunchWorkMount] = work.get();
    descriptors[spawner::kLaunchTmpMount] = tmp.get();
    descriptors[spawner::kLaunchShmMount] = shm.get();
    descriptors[spawner::kLaunchPtsMount] = pts.get();
    for (std::size_t i = 0; detached && i < log_files_.size(); ++i) {
        log_files_[i] = options.log_directory < 0
                            ? Fd(::memfd_create("log", MFD_CLOEXEC))
                            : Fd(::openat(options.log_directory, i == 0 ? "log.0" : "log.1", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        need(log_files_[i].valid(), "log file");
        descriptors.push_back(log_files_[i].get());
    }
    for (std::size_t i = 0; i < options.volumes.size(); ++i) {
        launch.volumes[i] = {NameText(options.volumes[i].name), TargetText(options.volumes[i].target)};
        descriptors.push_back(options.volumes[i].mount.get());
    }
    auto answer = spawner.order(launch, descriptors);
    if (!answer || answer->answer.code != ErrorCode::Ok || answer->descriptors.size() != 1) {
        throw std::runtime_error("not launched");
    }
    pidfd_ = std::move(answer->descriptors.front());
    status_ = std::move(status);
    control_ = std::move(control);
    output_ = std::move(output);
}

void TestJob::signal_as_rnx(int signal) {
    send_message(control_.get(), ControlRequest{ControlKind::Signal, static_cast<std::uint32_t>(signal)}, {}, Wait::No);
}

void TestJob::signal_as_broker(int signal) {
    send_message(status_.get(), ControlRequest{ControlKind::Signal, static_cast<std::uint32_t>(signal)}, {}, Wait::No);
}

Fd TestJob::receive_terminal() {
    std::array<std::byte, sizeof(ControlTerminal)> buffer{};
    auto received = receive_datagram(control_.get(), buffer, Wait::Yes);
    ControlTerminal message;
    if (!received || received->size != sizeof message || received->descriptors.size() != 1) {
        return {};
    }
    std::memcpy(&message, buffer.data(), sizeof message);
    return message.magic == kTerminalMagic && message.zero == 0 ? std::move(received->descriptors.front()) : Fd();
}

std::string TestJob::read_line() {
    std::string line;
    for (char c = 0; ::read(output_.get(), &c, 1) == 1 && c != '\n';) {
        line += c;
    }
    return line;
}

std::string TestJob::read_output() {
    std::string text;
    std::array<char, 4096> part{};
    for (ssize_t size = 0; (size = ::read(output_.get(), part.data(), part.size())) > 0;) {
        text.append(part.data(), static_cast<std::size_t>(size));
    }
    return text;
}

void TestJob::read_reports() {
    std::array<std::byte, sizeof(spawner::StageReport)> buffer{};
    while (auto received = receive_datagram(status_.get(), buffer, Wait::No)) {
        spawner::StageReport report;
        if (received->size != sizeof report) {
            continue;
        }
        std::memcpy(&report, buffer.data(), sizeof report);
        reports.push_back(report.type);
        if (report.type == spawner::StageReportType::Namespace && received->descriptors.size() == 1) {
            mount_namespace = std::move(received->descriptors.front());
        }
        said_running = said_running || report.type == spawner::StageReportType::Running;
        if (report.type == spawner::StageReportType::Ended) {
            to_broker = report.exit;
        }
    }
}

bool TestJob::runs(int timeout_ms) {
    while (!said_running) {
        pollfd report{status_.get(), POLLIN, 0};
        if (::poll(&report, 1, timeout_ms) != 1 || (report.revents & POLLIN) == 0) {
            return false;
        }
        read_reports();
    }
    return true;
}

bool TestJob::finish(int timeout_ms) {
    pollfd end{pidfd_.get(), POLLIN, 0};
    if (::poll(&end, 1, timeout_ms) != 1) {
        return false;
    }
    ExitRecord record;
    if (::pread(record_.get(), &record, sizeof record, 0) == static_cast<ssize_t>(sizeof record)) {
        in_file = record;
    }
    read_reports();
    std::array<std::byte, sizeof record> buffer{};
    while (control_.valid()) {
        const auto received = receive_datagram(control_.get(), buffer, Wait::No);
        if (!received) {
            break;
        }
        if (received->size == sizeof record) {
            std::memcpy(&record, buffer.data(), sizeof record);
            to_rnx = record;
        }
    }
    return true;
}

std::optional<ExitRecord> TestJob::agreed() const {
    if (!in_file || !to_broker || !to_rnx || std::memcmp(&*in_file, &*to_broker, sizeof(ExitRecord)) != 0 ||
        std::memcmp(&*in_file, &*to_rnx, sizeof(ExitRecord)) != 0 || !is_valid(*in_file)) {
        return std::nullopt;
    }
    return in_file;
}

pid_t TestJob::stage_pid() const {
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(pidfd_.get()));
    for (std::string word; info >> word;) {
        if (word == "Pid:") {
            pid_t pid = -1;
            info >> pid;
            return pid;
        }
    }
    return -1;
}

} // namespace joblet::testing
