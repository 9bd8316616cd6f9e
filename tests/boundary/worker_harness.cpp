#include "tests/boundary/worker_harness.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "broker-root/layout.h"
#include "broker-root/worker/image_geometry.h"
#include "shared/datagram.h"

namespace joblet::testing {

namespace {

namespace fs = std::filesystem;

constexpr int kPatienceMs = 60000;
constexpr int kChildFailed = 99;

void need(bool good, const std::string& what) {
    if (!good) {
        throw std::runtime_error(what + ": " + std::strerror(errno));
    }
}

int status_as_shell(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int wait_for(pid_t pid) {
    int status = 0;
    need(::waitpid(pid, &status, 0) == pid, "waitpid");
    return status_as_shell(status);
}

// In the child: what the host sees is bound below a directory that is no mount point, which becomes the root.
void enter_chroot(const fs::path& installation) {
    const fs::path root = installation / "chroot";
    const auto bind = [&root](const fs::path& from) {
        return ::mount(from.c_str(), (root.string() + from.string()).c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
    };
    // These tests may themselves run under a chroot, whose "/" is no mount whose propagation could be changed: the namespace's
    // own root is, and is reached by entering it; then back.
    const auto make_private = [] {
        const Fd here(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
        const Fd own(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
        return ::setns(own.get(), CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::fchdir(here.get()) == 0 && ::chroot(".") == 0;
    };
    const bool done = ::unshare(CLONE_NEWNS) == 0 && make_private() && bind("/usr") && bind("/dev") && bind("/proc") &&
                      bind(installation / "etc") && bind(installation / "var") && bind(installation / "opt") &&
                      bind(installation / "run") && ::chroot(root.c_str()) == 0 && ::chdir("/") == 0;
    if (!done) {
        ::_exit(kChildFailed);
    }
}

} // namespace

WorkerProcess::WorkerProcess(const Installation& installation, Surroundings surroundings) {
    auto [mine, theirs] = make_seqpacket_pair();
    socket_ = std::move(mine);
    std::array<std::string, 5> texts = {"joblet-worker", "--root", installation.root().string(), "--index", "7"};
    std::array<char*, texts.size() + 1> words{};
    std::ranges::transform(texts, words.begin(), [](std::string& text) { return text.data(); });
    const Fd program(::open(JOBLET_WORKER, O_PATH | O_CLOEXEC));
    need(program.valid(), JOBLET_WORKER);
    pid_ = ::fork();
    need(pid_ >= 0, "fork");
    if (pid_ == 0) {
        if (surroundings == Surroundings::Chroot) {
            enter_chroot(installation.root());
        }
        const int null = ::open("/dev/null", O_RDWR);
        const int high = ::fcntl(theirs.get(), F_DUPFD, 100);
        const int executable = ::fcntl(program.get(), F_DUPFD_CLOEXEC, 200);
        ::dup2(null, 0);
        ::dup2(high, kWorkerBrokerFd);
        ::close_range(4, static_cast<unsigned>(executable) - 1, 0);
        ::close_range(static_cast<unsigned>(executable) + 1, ~0U, 0);
        if (surroundings == Surroundings::LeakedDescriptor) {
            ::dup2(0, 4);
        }
        ::fexecve(executable, words.data(), environ);
        ::_exit(kChildFailed);
    }
}

WorkerProcess::~WorkerProcess() {
    kill_now();
}

void WorkerProcess::kill_now() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }
}

WorkerProcess::Reply WorkerProcess::receive() {
    pollfd wait{socket_.get(), POLLIN, 0};
    need(::poll(&wait, 1, kPatienceMs) == 1, "no answer from the worker");
    Reply reply;
    reply.bytes.resize(worker::kAnswerSizeMax);
    auto received = receive_datagram(socket_.get(), reply.bytes, Wait::No);
    if (!received || received->size < sizeof reply.answer) {
        throw std::runtime_error("the worker has ended");
    }
    reply.bytes.resize(received->size);
    std::memcpy(&reply.answer, reply.bytes.data(), sizeof reply.answer);
    reply.descriptors = std::move(received->descriptors);
    return reply;
}

void WorkerProcess::send(std::span<const std::byte> bytes, std::span<const int> descriptors) {
    need(send_datagram(socket_.get(), bytes, descriptors, Wait::Yes), "send an order");
}

void WorkerProcess::close_socket() {
    socket_.reset();
}

WorkerProcess::Reply WorkerProcess::order(std::span<const std::byte> bytes, std::span<const int> descriptors) {
    send(bytes, descriptors);
    return receive();
}

int WorkerProcess::order_and_wait_for_end(std::span<const std::byte> bytes, std::span<const int> descriptors) {
    send(bytes, descriptors);
    return wait_for_end();
}

int WorkerProcess::wait_for_end() {
    const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    pollfd wait{process.get(), POLLIN, 0};
    need(::poll(&wait, 1, kPatienceMs) == 1, "the worker lives on");
    return wait_for(std::exchange(pid_, -1));
}

namespace {

template <class Message, class Entry> void take(const std::vector<std::byte>& bytes, std::vector<Entry>& out, auto member) {
    Message message;
    if (bytes.size() != sizeof message) {
        throw std::runtime_error("a list has the wrong size");
    }
    std::memcpy(&message, bytes.data(), sizeof message);
    const auto& entries = message.*member;
    out.insert(out.end(), entries.begin(), entries.begin() + message.answer.count);
}

} // namespace

std::vector<worker::LoadedVolume> WorkerProcess::load_volumes() {
    std::vector<worker::LoadedVolume> out;
    auto reply = order(worker::LoadVolumes{});
    take<worker::VolumesLoaded>(reply.bytes, out, &worker::VolumesLoaded::volumes);
    while (reply.answer.more != 0) {
        reply = receive();
        take<worker::VolumesLoaded>(reply.bytes, out, &worker::VolumesLoaded::volumes);
    }
    return out;
}

worker::VolumesLoaded WorkerProcess::facts() {
    auto reply = order(worker::LoadVolumes{});
    while (reply.answer.more != 0) {
        reply = receive();
    }
    worker::VolumesLoaded message;
    if (reply.bytes.size() != sizeof message) {
        throw std::runtime_error("a list has the wrong size");
    }
    std::memcpy(&message, reply.bytes.data(), sizeof message);
    return message;
}

std::vector<worker::LoadedJob> WorkerProcess::load_jobs(bool remove_leftovers) {
    std::vector<worker::LoadedJob> out;
    auto reply = order(worker::LoadJobs{.header = {}, .remove_leftovers = remove_leftovers ? 1U : 0U});
    take<worker::JobsLoaded>(reply.bytes, out, &worker::JobsLoaded::jobs);
    while (reply.answer.more != 0) {
        reply = receive();
        take<worker::JobsLoaded>(reply.bytes, out, &worker::JobsLoaded::jobs);
    }
    return out;
}

std::vector<worker::Finding> WorkerProcess::survey() {
    std::vector<worker::Finding> out;
    auto reply = order(worker::Survey{});
    take<worker::Surveyed>(reply.bytes, out, &worker::Surveyed::findings);
    while (reply.answer.more != 0) {
        reply = receive();
        take<worker::Surveyed>(reply.bytes, out, &worker::Surveyed::findings);
    }
    need(reply.answer.code == ErrorCode::Ok, "survey");
    return out;
}

std::vector<worker::LoadedBase> WorkerProcess::load_bases() {
    std::vector<worker::LoadedBase> out;
    const auto reply = order(worker::LoadBases{});
    take<worker::BasesLoaded>(reply.bytes, out, &worker::BasesLoaded::bases);
    return out;
}

bool can_grow_online() {
    const std::string status = read_text("/proc/self/status");
    const auto at = status.find("CapPrm:\t");
    need(at != std::string::npos, "capabilities of this process");
    constexpr unsigned long long kNeeded = 1ULL << CAP_SYS_RESOURCE | 1ULL << CAP_DAC_READ_SEARCH;
    return (std::stoull(status.substr(at + 8, 16), nullptr, 16) & kNeeded) == kNeeded;
}

Fd make_volume_user_namespace(std::uint32_t slot_first) {
    std::array<int, 2> ready{};
    need(::pipe2(ready.data(), O_CLOEXEC) == 0, "pipe");
    const pid_t child = ::fork();
    need(child >= 0, "fork");
    if (child == 0) {
        // A process under a chroot may make no user namespace; entering its own mount namespace anew leads to that one's root
        const int mounts = ::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        const char good = mounts >= 0 && ::setns(mounts, CLONE_NEWNS) == 0 && ::unshare(CLONE_NEWUSER) == 0 ? 1 : 0;
        (void)!::write(ready[1], &good, 1);
        ::pause();
        ::_exit(0);
    }
    char good = 0;
    const ssize_t got = ::read(ready[0], &good, 1);
    ::close(ready[0]);
    ::close(ready[1]);
    const std::string proc = "/proc/" + std::to_string(child);
    const std::string map = std::to_string(kForeignFirst) + " " + std::to_string(slot_first) + " 65536\n";
    Fd out;
    if (got == 1 && good == 1) {
        write_text(proc + "/uid_map", map);
        write_text(proc + "/gid_map", map);
        out = Fd(::open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    need(out.valid(), "make a user namespace");
    return out;
}

worker::VolumeRecord make_volume_record(const char* name, std::uint64_t bytes, protocol::Backend backend) {
    worker::VolumeRecord record;
    record.magic = worker::kVolumeRecordMagic;
    record.version = worker::kVolumeRecordVersion;
    record.size = sizeof record;
    record.id = make_random_id<VolumeId>();
    record.name = NameText(name);
    record.size_bytes = bytes;
    record.generation = 1;
    record.created_ns = 1;
    record.owner_uid = 1000;
    record.backend = backend;
    record.type = backend == protocol::Backend::Tmpfs ? protocol::VolumeType::Memory : protocol::VolumeType::Filesystem;
    if (backend == protocol::Backend::ProjectQuota) {
        record.project_id = worker::kProjectFirst + (static_cast<std::uint32_t>(record.id.bytes[0]) << 8U) + record.id.bytes[1];
    }
    record.image_bytes = backend == protocol::Backend::Image ? worker::image_bytes_for(bytes, 0) : 0;
    return record;
}

worker::SizedLabels make_labels(std::string_view text) {
    worker::SizedLabels labels{.size = static_cast<std::uint32_t>(text.size())};
    std::ranges::copy(text, labels.bytes.begin());
    return labels;
}

worker::MountVolume make_mount(const worker::VolumeRecord& volume, protocol::Access access) {
    worker::MountVolume mount;
    mount.id = volume.id;
    mount.name = volume.name;
    mount.size_bytes = volume.size_bytes;
    mount.inodes = volume.inodes;
    mount.backend = volume.backend;
    mount.access = access;
    return mount;
}

void create_volume(WorkerProcess& worker, const worker::VolumeRecord& record, const worker::SizedLabels& labels) {
    const bool image = record.backend == protocol::Backend::Image;
    auto staged = worker.order(worker::StageVolume{.record = record, .slot_first = image ? kWorkerTestSlot : 0});
    need(staged.answer.code == ErrorCode::Ok && staged.descriptors.size() == (image ? 1 : 0), "stage a volume");
    if (image) {
        run_command(worker::mkfs_arguments(record), staged.descriptors[0].get());
    }
    const auto committed = worker.order(worker::CommitVolume{.record = record, .labels_size = labels.size, .labels = labels.bytes});
    need(committed.answer.code == ErrorCode::Ok, "commit a volume");
}

worker::PrepareJob make_prepare(const std::vector<worker::VolumeRecord>& volumes, protocol::Access access) {
    worker::PrepareJob order;
    order.record.magic = worker::kJobRecordMagic;
    order.record.version = worker::kJobRecordVersion;
    order.record.size = sizeof order.record;
    order.record.id = make_random_id<JobId>();
    order.record.owner_uid = 1000;
    order.record.volume_count = static_cast<std::uint32_t>(volumes.size());
    order.base = NameText("minimal");
    order.work_bytes = 1 << 20U;
    order.tmp_bytes = 2 << 20U;
    order.shm_bytes = 3 << 20U;
    order.slot_first = kWorkerTestSlot;
    order.volume_count = order.record.volume_count;
    for (std::size_t i = 0; i < volumes.size(); ++i) {
        order.volumes[i] = make_mount(volumes[i], access);
        order.record.volumes[i] = volumes[i].id;
        order.record.access[i] = access;
    }
    return order;
}

int in_namespace(int mount_namespace, const std::function<int()>& what) {
    const pid_t child = ::fork();
    need(child >= 0, "fork");
    if (child == 0) {
        if (::setns(mount_namespace, CLONE_NEWNS) != 0 || ::unshare(CLONE_NEWNS) != 0) {
            ::_exit(kChildFailed);
        }
        ::_exit(what());
    }
    return wait_for(child);
}

int as_user(std::uint32_t uid, const std::function<int()>& what) {
    const pid_t child = ::fork();
    need(child >= 0, "fork");
    if (child == 0) {
        if (::syscall(SYS_setgroups, 0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 || ::setresuid(uid, uid, uid) != 0) {
            ::_exit(kChildFailed);
        }
        ::_exit(what());
    }
    return wait_for(child);
}

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
}

void write_text(const std::filesystem::path& path, std::string_view text) {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    need(file.valid() && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), path.string());
}

std::string run_command(const std::vector<std::string>& words, int standard_input, int standard_output) {
    std::array<int, 2> out{};
    need(::pipe2(out.data(), O_CLOEXEC) == 0, "pipe");
    const pid_t child = ::fork();
    need(child >= 0, "fork");
    if (child == 0) {
        auto texts = words;
        std::vector<char*> argv(texts.size() + 1, nullptr);
        std::ranges::transform(texts, argv.begin(), [](std::string& text) { return text.data(); });
        ::dup2(standard_input >= 0 ? standard_input : ::open("/dev/null", O_RDONLY), 0);
        ::dup2(standard_output >= 0 ? standard_output : out[1], 1);
        ::execvp(argv[0], argv.data());
        ::_exit(kChildFailed);
    }
    ::close(out[1]);
    const Fd reading(out[0]);
    std::string said;
    std::array<char, 4096> buffer{};
    for (ssize_t size = 0; (size = ::read(reading.get(), buffer.data(), buffer.size())) > 0;) {
        said.append(buffer.data(), static_cast<std::size_t>(size));
    }
    if (const int status = wait_for(child); status != 0) {
        throw std::runtime_error(words[0] + " failed with " + std::to_string(status));
    }
    return said;
}

} // namespace joblet::testing
