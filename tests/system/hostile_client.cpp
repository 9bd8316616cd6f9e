#include "tests/system/hostile_client.h"

#include <doctest/doctest.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <stdexcept>

#include <capnp/any.h>
#include <capnp/serialize.h>
#include <fmt/format.h>

#include "tests/system/raw_socket.h"

namespace joblet::testing {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kKibPerMib = 1024;

// This thread alone is another user; the C library would change all of them. The real uid as well: it is whose descriptors in
// flight are counted, and root's daemons share that count with every other process of root's.
class Disguise {
  public:
    explicit Disguise(uid_t uid) {
        if (::syscall(SYS_setresuid, uid, uid, 0) != 0) {
            throw std::runtime_error("cannot become another user");
        }
    }
    ~Disguise() {
        ::syscall(SYS_setresuid, 0, 0, 0);
    }
    Disguise(const Disguise&) = delete;
    Disguise& operator=(const Disguise&) = delete;
};

std::size_t status_kib(pid_t pid, std::string_view field) {
    std::istringstream in(read_file(fmt::format("/proc/{}/status", pid)));
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with(field)) {
            return std::stoul(line.substr(field.size() + 1));
        }
    }
    return 0;
}

std::size_t count_descriptors(pid_t pid, std::string_view kind) {
    std::size_t count = 0;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid), error)) {
        const auto target = fs::read_symlink(entry.path(), error).string();
        count += target.starts_with(kind) ? 1 : 0;
    }
    return count;
}

pid_t api_of(const Installation& here) {
    const auto pids = here.daemons("joblet-api");
    return pids.size() == 1 ? pids.front() : -1;
}

} // namespace

HostileClient::HostileClient(const Installation& here, uid_t uid, std::chrono::seconds limit)
    : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    here.socket().copy(&address.sun_path[0], sizeof address.sun_path - 1);
    const timeval patience{.tv_sec = limit.count(), .tv_usec = 0}; // the listener's queue may be full
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const Disguise disguise(uid);
    const int connected = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int error = errno;
    if (connected != 0) {
        throw std::runtime_error(fmt::format("cannot connect: {}", std::strerror(error)));
    }
}

std::size_t HostileClient::send(std::span<const std::byte> bytes, milliseconds limit) const {
    std::size_t done = 0;
    const auto end = std::chrono::steady_clock::now() + limit * patience();
    bool in_time = true; // once in any case
    while (done < bytes.size() && in_time) {
        in_time = std::chrono::steady_clock::now() < end;
        const ssize_t size = ::send(socket_.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (size > 0) {
            done += static_cast<std::size_t>(size);
        } else if (errno == EAGAIN && in_time) {
            constexpr int kStepMs = 10;
            pollfd poll{socket_.get(), POLLOUT, 0};
            ::poll(&poll, 1, kStepMs);
        } else {
            break;
        }
    }
    return done;
}

bool HostileClient::send_with(std::span<const std::byte> bytes, std::span<const int> descriptors) const {
    const Disguise disguise(kMallory);
    return send_raw(socket_.get(), bytes, descriptors, MSG_DONTWAIT);
}

void HostileClient::finish() const {
    ::shutdown(socket_.get(), SHUT_WR);
}

std::size_t HostileClient::take(milliseconds wait) {
    std::array<char, 65536> part{};
    pollfd poll{socket_.get(), POLLIN, 0};
    ssize_t size = 0;
    while (::poll(&poll, 1, static_cast<int>(wait.count())) > 0 &&
           (size = ::recv(socket_.get(), part.data(), part.size(), MSG_DONTWAIT)) > 0) {
        answered_ += static_cast<std::size_t>(size);
    }
    return answered_;
}

bool HostileClient::is_ended(milliseconds limit) {
    return becomes_true(
        [this] {
            take(milliseconds(0));
            char byte = 0;
            const ssize_t size = ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK);
            return size == 0 || (size < 0 && errno != EAGAIN);
        },
        limit);
}

Bytes framed(capnp::MessageBuilder& message) {
    const auto words = capnp::messageToFlatArray(message);
    const auto bytes = std::as_bytes(std::span(words.begin(), words.size()));
    return {bytes.begin(), bytes.end()};
}

Bytes message_of(const std::function<void(capnp::rpc::Message::Builder)>& fill) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<capnp::rpc::Message>());
    return framed(message);
}

Bytes operator+(Bytes left, const Bytes& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

Bytes opening() {
    constexpr std::uint16_t kVolumes = 1;
    constexpr std::uint16_t kJobs = 2;
    Bytes bytes = message_of([](auto message) { message.initBootstrap().setQuestionId(kBootstrapQuestion); });
    for (const auto& [question, method] : {std::pair{kVolumesQuestion, kVolumes}, std::pair{kJobsQuestion, kJobs}}) {
        bytes = std::move(bytes) + message_of([asked = question, number = method](auto message) {
                    auto call = message.initCall();
                    call.setQuestionId(asked);
                    call.initTarget().initPromisedAnswer().setQuestionId(kBootstrapQuestion);
                    call.setInterfaceId(capnp::typeId<rpc::Joblet>());
                    call.setMethodId(number);
                    call.initParams();
                });
    }
    return bytes;
}

Bytes call(std::uint32_t question, std::uint32_t service, std::uint64_t interface, std::uint16_t method,
           const std::function<void(capnp::rpc::Payload::Builder)>& fill) {
    return message_of([&](auto message) {
        auto call = message.initCall();
        call.setQuestionId(question);
        auto target = call.initTarget().initPromisedAnswer();
        target.setQuestionId(service);
        target.initTransform(1)[0].setGetPointerField(0);
        call.setInterfaceId(interface);
        call.setMethodId(method);
        fill(call.initParams());
    });
}

Bytes finish(std::uint32_t question) {
    return message_of([question](auto message) { message.initFinish().setQuestionId(question); });
}

Bytes list_volumes(std::uint32_t question) {
    constexpr std::uint32_t kPageSize = 1000;
    return call(question, kVolumesQuestion, capnp::typeId<rpc::VolumeService>(), kListVolumes, [](auto payload) {
        payload.getContent().template initAs<rpc::VolumeService::ListVolumesParams>().initPage().setSize(kPageSize);
    });
}

Bytes run_with_control(std::uint32_t question, const std::function<void(capnp::rpc::CapDescriptor::Builder)>& capability) {
    constexpr std::uint16_t kControl = 6; // which pointer of RunRequest
    // A capability's pointer cannot be written without one: what is written instead is found again, and replaced
    constexpr unsigned kMark = 77;
    constexpr std::uint64_t kMarked = (std::uint64_t{kMark} << 3U) | 2U; // a list of so many bytes: the upper half of its pointer
    constexpr std::uint64_t kFirstCapability = 3;
    auto bytes = call(question, kJobsQuestion, capnp::typeId<rpc::JobService>(), kRun, [&](capnp::rpc::Payload::Builder payload) {
        capability(payload.initCapTable(1)[0]);
        auto request = payload.getContent().initAs<rpc::JobService::RunParams>().initRequest();
        request.initCommand(1).set(0, "true");
        capnp::toAny(request).getPointerSection()[kControl].initAs<capnp::Data>(kMark);
    });
    for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes.size(); at += sizeof(std::uint64_t)) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, sizeof word);
        if (word >> 32U == kMarked) {
            std::memcpy(bytes.data() + at, &kFirstCapability, sizeof word);
            return bytes;
        }
    }
    throw std::runtime_error("the mark is not where it should be");
}

std::mt19937_64 random_source(const char* test) {
    const char* const word = std::getenv("JOBLET_TEST_SEED");
    const std::uint64_t seed = word != nullptr ? std::stoull(word) : std::random_device{}();
    fmt::print("{}: JOBLET_TEST_SEED={}\n", test, seed);
    return std::mt19937_64(seed);
}

bool is_long() {
    const char* const word = std::getenv("JOBLET_TEST_LONG");
    return word != nullptr && std::string_view(word) == "1";
}

ApiWatch::ApiWatch(const Installation& here) : here_(here), pid_(api_of(here)), descriptors_(0), resident_kib_(0) {
    REQUIRE(pid_ > 0);
    write_file(fmt::format("/proc/{}/clear_refs", pid_), "5"); // the peak is counted anew, proc(5)
    descriptors_ = descriptors();
    resident_kib_ = status_kib(pid_, "VmRSS:");
}

std::size_t ApiWatch::descriptors() const {
    return count_descriptors(pid_, "");
}

std::size_t ApiWatch::memory_files() const {
    std::size_t count = count_descriptors(pid_, "/memfd:");
    for (const pid_t broker : here_.daemons("joblet-broker")) {
        count += count_descriptors(broker, "/memfd:");
    }
    return count;
}

void ApiWatch::check_unharmed(const char* attack, std::size_t mebibytes) const {
    CHECK(api_of(here_) == pid_);
    CHECK(others_are_served(here_));
    const auto peak = status_kib(pid_, "VmHWM:");
    fmt::print("{}: joblet-api had {} MiB, at most {} MiB during the attack\n", attack, resident_kib_ / kKibPerMib, peak / kKibPerMib);
    CHECK(peak <= resident_kib_ + mebibytes * kKibPerMib);
    CHECK(becomes_true([this] { return descriptors() <= descriptors_; }));
    CAPTURE(descriptors_);
    CHECK(descriptors() <= descriptors_);
}

bool others_are_served(const Installation& here) {
    const auto list = here.run_rnx({"volume", "list", "--format", "json"}, kAlice);
    const json volumes = list.status == 0 ? json::parse(list.out) : json::array();
    return volumes.size() == 1 && volumes[0]["name"] == "hers";
}

} // namespace joblet::testing
