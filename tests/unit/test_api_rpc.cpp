// The whole daemon but its main, on one event loop with its clients; the broker is a thread with a table.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include <capnp/rpc-twoparty.h>
#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <fmt/format.h>
#include <kj/async-io.h>

#include "api-unpriv/daemon.h"
#include "schema/joblet.capnp.h"
#include "shared/datagram.h"
#include "shared/job_spec.h"

using namespace joblet;
using namespace joblet::api;

namespace {

constexpr std::uint32_t kAlice = 1000;
constexpr std::uint32_t kBob = 1001;

// Answers requests as a broker would, as far as these tests look. Requests are decoded strictly: whatever the daemon sends
// wrongly fails the test.
class FakeBroker {
  public:
    explicit FakeBroker(Fd socket) : socket_(std::move(socket)), thread_([this]() { work(); }) {}
    FakeBroker(const FakeBroker&) = delete;
    FakeBroker& operator=(const FakeBroker&) = delete;
    ~FakeBroker() {
        ::shutdown(socket_.get(), SHUT_RDWR);
        thread_.join();
        CHECK(faults == 0);
    }

    // A client's end of a connection that the daemon gets.
    Fd connect(std::uint32_t uid, bool admin) {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
        protocol::Connection connection;
        connection.uid = uid;
        connection.number = ++connections_;
        connection.admin = admin ? 1 : 0;
        {
            const std::lock_guard lock(mutex_);
            uids_[connection.number] = uid;
        }
        REQUIRE(send_message(socket_.get(), connection, std::span(&ends[1], 1), Wait::Yes));
        ::close(ends[1]);
        return Fd(ends[0]);
    }
    protocol::VolumeEntry add_volume(std::uint32_t owner, std::string_view name, std::string_view labels = {}) {
        const std::lock_guard lock(mutex_);
        protocol::VolumeEntry entry;
        entry.id = make_random_id<VolumeId>();
        entry.owner_uid = owner;
        entry.name = NameText(name);
        entry.type = protocol::VolumeType::Filesystem;
        entry.backend = protocol::Backend::Image;
        entry.status = protocol::VolumeStatus::Available;
        entry.size_bytes = 1 << 20U;
        entry.labels_size = static_cast<std::uint32_t>(labels.size());
        volumes_[entry.id] = {entry, std::string(labels)};
        return entry;
    }
    void end_job(JobId id, int code) {
        const std::lock_guard lock(mutex_);
        auto& job = jobs_.at(id);
        job.state = protocol::JobState::Ended;
        job.exit.magic = kExitMagic;
        job.exit.kind = ExitKind::Exited;
        job.exit.code = code;
        job.exit.started_ns = job.started_ns;
        job.exit.ended_ns = job.started_ns + 1;
        protocol::JobChanged news;
        news.job = job;
        send(news);
    }
    void send_garbage() {
        const std::array<std::byte, 5> bytes{};
        send_datagram(socket_.get(), bytes, {}, Wait::Yes);
    }
    void hang_up() {
        ::shutdown(socket_.get(), SHUT_RDWR);
    }

    std::atomic<int> faults = 0;
    std::atomic<int> closed_connections = 0;
    std::atomic<int> signals = 0;
    std::atomic<std::uint32_t> last_authority = 99;
    std::atomic<int> next_answer = 0; // an ErrorCode for the next CreateVolume

    // Of the last StartJob
    Fd control;
    Fd spec;
    protocol::StartJob start;

  private:
    struct Stored {
        protocol::VolumeEntry entry;
        std::string labels;
    };

    template <class Message> void send(const Message& message) {
        if (!send_message(socket_.get(), message, {}, Wait::Yes) && errno != EPIPE) {
            ++faults;
        }
    }
    template <class Request> static protocol::Reply reply_to(const Request& request) {
        protocol::Reply reply;
        reply.request = Request::kType;
        reply.sequence = request.header.sequence;
        return reply;
    }
    bool may(const protocol::RequestHeader& header, std::uint32_t owner, protocol::Authority authority) {
        last_authority = static_cast<std::uint32_t>(authority);
        return authority == protocol::Authority::Admin || uids_[header.connection] == owner;
    }

    void work() {
        std::vector<std::byte> buffer(protocol::kRequestSizeMax);
        std::uint64_t expected = 1;
        while (auto received = receive_datagram(socket_.get(), buffer, Wait::Yes)) {
            auto request = protocol::decode(std::span(buffer).first(received->size), received->descriptors.size());
            if (!request || protocol::header_of(*request).sequence != expected++) {
                ++faults;
                return;
            }
            const std::lock_guard lock(mutex_);
            std::visit([&](const auto& r) { handle(r, received->descriptors); }, *request);
        }
    }

    void handle(const protocol::CreateVolume& r, std::vector<Fd>& /*none*/) {
        auto reply = reply_to(r);
        const auto uid = uids_[r.header.connection];
        for (const auto& [id, stored] : volumes_) {
            if (stored.entry.owner_uid == uid && stored.entry.name == r.name) {
                const bool same = stored.entry.size_bytes == r.size_bytes && stored.entry.type == r.type;
                reply.code = same ? ErrorCode::Ok : ErrorCode::Conflict;
                reply.flags = same ? protocol::kReplyExisted : 0;
                reply.volume = id;
                send(reply);
                return;
            }
        }
        if (next_answer != 0) {
            reply.code = static_cast<ErrorCode>(next_answer.exchange(0));
            reply.which = static_cast<std::uint32_t>(protocol::LimitKind::BytesPerUser);
            reply.limit = 10 << 20U;
            reply.used = 9 << 20U;
            reply.asked = r.size_bytes;
            reply.sys_errno = ENOSPC;
            reply.step = Step::MakeImage;
            send(reply);
            return;
        }
        protocol::VolumeEntry entry;
        entry.id = make_random_id<VolumeId>();
        entry.owner_uid = uid;
        entry.name = r.name;
        entry.type = r.type;
        entry.backend = r.type == protocol::VolumeType::Memory ? protocol::Backend::Tmpfs : protocol::Backend::Image;
        entry.status = protocol::VolumeStatus::Available;
        entry.size_bytes = r.size_bytes;
        entry.inodes = r.inodes;
        entry.labels_size = r.labels_size;
        volumes_[entry.id] = {entry, std::string(r.labels.begin(), r.labels.begin() + r.labels_size)};
        reply.volume = entry.id;
        send(reply); // the news is left out: the daemon must ask
    }
    void handle(const protocol::DeleteVolume& r, std::vector<Fd>& /*none*/) {
        auto reply = reply_to(r);
        const auto place = volumes_.find(r.id);
        if (place == volumes_.end() || !may(r.header, place->second.entry.owner_uid, r.authority)) {
            reply.code = ErrorCode::NotFound;
        } else {
            volumes_.erase(place);
        }
        send(reply);
    }
    void handle(const protocol::StatVolume& r, std::vector<Fd>& /*none*/) {
        const auto place = volumes_.find(r.id);
        if (place == volumes_.end()) {
            auto reply = reply_to(r);
            reply.code = ErrorCode::NotFound;
            send(reply);
            return;
        }
        protocol::VolumeDetail detail;
        detail.reply = reply_to(r);
        detail.volume = place->second.entry;
        std::ranges::copy(place->second.labels, detail.labels.begin());
        send(detail);
    }
    void handle(const protocol::ListVolumes& r, std::vector<Fd>& /*none*/) {
        protocol::VolumePage page;
        page.reply = reply_to(r);
        for (auto place = volumes_.upper_bound(r.after); place != volumes_.end(); ++place) {
            if (page.reply.count == protocol::kPageEntries) {
                page.reply.flags = protocol::kReplyMore;
                break;
            }
            page.volumes.at(page.reply.count++) = place->second.entry;
        }
        send(page);
    }
    void handle(const protocol::StartJob& r, std::vector<Fd>& descriptors) {
        auto reply = reply_to(r);
        start = r;
        control = std::move(descriptors.at(protocol::kControl));
        spec = std::move(descriptors.at(protocol::kSpec));
        if (r.base.view() != "minimal") {
            reply.code = ErrorCode::NotFound;
            send(reply);
            return;
        }
        protocol::JobEntry job;
        job.id = make_random_id<JobId>();
        job.owner_uid = uids_[r.header.connection];
        job.state = protocol::JobState::Running;
        job.started_ns = 1000 + static_cast<std::int64_t>(jobs_.size());
        job.volume_count = r.volume_count;
        for (std::size_t i = 0; i < r.volume_count; ++i) {
            job.volumes.at(i) = r.volumes.at(i).id;
        }
        jobs_[job.id] = job;
        protocol::JobChanged news;
        news.job = job;
        send(news);
        reply.job = job.id;
        send(reply);
    }
    void handle(const protocol::SignalJob& r, std::vector<Fd>& /*none*/) {
        auto reply = reply_to(r);
        const auto place = jobs_.find(r.id);
        if (place == jobs_.end() || !may(r.header, place->second.owner_uid, r.authority)) {
            reply.code = ErrorCode::NotFound;
        } else {
            ++signals;
        }
        send(reply);
    }
    void handle(const protocol::ListJobs& r, std::vector<Fd>& /*none*/) {
        protocol::JobPage page;
        page.reply = reply_to(r);
        for (auto place = jobs_.upper_bound(r.after); place != jobs_.end() && page.reply.count < protocol::kPageEntries; ++place) {
            page.jobs.at(page.reply.count++) = place->second;
        }
        send(page);
    }
    void handle(const protocol::ReleaseJob& r, std::vector<Fd>& /*none*/) {
        jobs_.erase(r.id);
        send(reply_to(r));
    }
    void handle(const protocol::CloseConnection& r, std::vector<Fd>& /*none*/) {
        if (uids_.erase(r.header.connection) == 0) {
            ++faults;
        }
        ++closed_connections;
        send(reply_to(r));
    }

    Fd socket_;
    std::uint64_t connections_ = 100;
    std::mutex mutex_; // guards what follows
    std::map<VolumeId, Stored> volumes_;
    std::map<JobId, protocol::JobEntry> jobs_;
    std::map<protocol::ConnectionNumber, std::uint32_t> uids_;
    std::thread thread_; // last: it uses the rest
};

class World {
  public:
    explicit World(const std::function<void(FakeBroker&)>& before = {}, ApiConfig configuration = {})
        : config(configuration), pair(make_seqpacket_pair()), broker(std::move(pair.second)), io(kj::setupAsyncIo()),
          store(std::nullopt, {}) {
        if (before) {
            before(broker);
        }
        daemon.emplace(io, pair.first.get(), store, config);
        running = daemon->run({}, {}).eagerlyEvaluate(nullptr);
    }

    void turn(int milliseconds) {
        io.provider->getTimer().afterDelay(milliseconds * kj::MILLISECONDS).wait(io.waitScope);
    }
    template <class Condition> bool eventually(const Condition& condition) {
        for (int i = 0; i < 500; ++i) {
            if (condition()) {
                return true;
            }
            turn(10);
        }
        return false;
    }

    ApiConfig config;
    std::pair<Fd, Fd> pair;
    FakeBroker broker;
    kj::AsyncIoContext io;
    StoreWriter store;
    std::optional<Daemon> daemon;
    kj::Promise<void> running = nullptr;
};

class Client {
  public:
    Client(World& world, std::uint32_t uid, bool admin = false)
        : world_(world), stream_(world.io.lowLevelProvider->wrapUnixSocketFd(kj::AutoCloseFd(world.broker.connect(uid, admin).release()),
                                                                             kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC)),
          rpc_(*stream_, 8), joblet(rpc_.bootstrap().castAs<rpc::Joblet>()), volumes(joblet.volumesRequest().send().getService()),
          jobs(joblet.jobsRequest().send().getService()), host(joblet.hostRequest().send().getService()) {}

    template <class Answer> auto wait(Answer&& answer) {
        return world_.io.provider->getTimer().timeoutAfter(10 * kj::SECONDS, kj::mv(answer)).wait(world_.io.waitScope);
    }
    auto create(const char* name, std::uint64_t size) {
        auto request = volumes.createVolumeRequest();
        request.setName(name);
        request.setSizeBytes(size);
        return wait(request.send());
    }
    auto get(const std::string& name, bool everybody = false) {
        auto request = volumes.getVolumeRequest();
        request.getSelector().setVolume(name);
        if (everybody) {
            request.getSelector().initScope().setEverybody();
        }
        return wait(request.send());
    }

  private:
    World& world_;
    kj::Own<kj::AsyncCapabilityStream> stream_;
    capnp::TwoPartyClient rpc_;

  public:
    rpc::Joblet::Client joblet;
    rpc::VolumeService::Client volumes;
    rpc::JobService::Client jobs;
    rpc::HostService::Client host;
};

class DescriptorServer final : public rpc::Descriptor::Server {
  public:
    explicit DescriptorServer(Fd fd) : fd_(std::move(fd)) {}
    kj::Maybe<int> getFd() override {
        return fd_.get();
    }

  private:
    Fd fd_;
};

std::string text(capnp::Text::Reader from) {
    return {from.begin(), from.size()};
}
std::string field(rpc::Error::Reader error, std::string_view name) {
    for (const auto one : error.getFields()) {
        if (text(one.getName()) == name) {
            return text(one.getValue());
        }
    }
    return {};
}

constexpr std::uint64_t kMebibyte = 1 << 20U;

} // namespace

TEST_CASE("what the broker had before is there, with its labels, before anybody is served") {
    World world([](FakeBroker& broker) {
        for (int i = 0; i < 40; ++i) {
            broker.add_volume(kAlice, fmt::format("v{}", i), i % 2 == 0 ? std::string_view("env\0prod\0", 9) : std::string_view());
        }
    });
    Client alice(world, kAlice);
    auto request = alice.volumes.listVolumesRequest();
    auto labels = request.initFilter().initLabels(1);
    labels[0].setKey("env");
    labels[0].setValue("prod");
    const auto answer = alice.wait(request.send());
    REQUIRE(answer.getResult().isValue());
    CHECK(answer.getResult().getValue().getMatching() == 20);
    CHECK(text(answer.getResult().getValue().getVolumes()[0].getLabels()[0].getValue()) == "prod");
}

TEST_CASE("a volume is created, found by its owner only, and deleted") {
    World world;
    Client alice(world, kAlice);
    Client bob(world, kBob);
    Client admin(world, 0, true);

    const auto created = alice.create("data", kMebibyte);
    REQUIRE(created.getResult().isValue());
    CHECK_FALSE(created.getResult().getValue().getExisted());
    const auto id = text(created.getResult().getValue().getVolume().getId());
    CHECK(alice.create("data", kMebibyte).getResult().getValue().getExisted());

    CHECK(text(alice.get("data").getResult().getValue().getId()) == id);
    CHECK(text(alice.get(id.substr(0, 8)).getResult().getValue().getName()) == "data");
    CHECK(bob.get("data").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(bob.get(id).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(bob.get(id, true).getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);
    CHECK(admin.get("data").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(admin.get("data", true).getResult().getValue().getOwner() == kAlice);

    auto by_bob = bob.volumes.deleteVolumeRequest();
    by_bob.getSelector().setVolume(id);
    CHECK(bob.wait(by_bob.send()).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    auto by_admin = admin.volumes.deleteVolumeRequest();
    by_admin.getSelector().setVolume(id);
    by_admin.getSelector().initScope().setUser(kAlice);
    CHECK(admin.wait(by_admin.send()).getResult().isValue());
    CHECK(world.broker.last_authority == static_cast<std::uint32_t>(protocol::Authority::Admin));
    CHECK(alice.get("data").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
}

TEST_CASE("refusals say what is wrong and what is accepted") {
    World world;
    Client alice(world, kAlice);
    REQUIRE(alice.create("data", kMebibyte).getResult().isValue());

    const auto conflict = alice.create("data", 2 * kMebibyte);
    CHECK(conflict.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
    CHECK(field(conflict.getResult().getError(), "difference") == "size_bytes: 1048576 there, 2097152 asked");

    world.broker.next_answer = static_cast<int>(ErrorCode::LimitExceeded);
    const auto limit = alice.create("more", 2 * kMebibyte);
    CHECK(limit.getResult().getError().getCode() == rpc::ErrorCode::LIMIT_EXCEEDED);
    CHECK(field(limit.getResult().getError(), "limit_name") == "limits.total_size");
    CHECK(field(limit.getResult().getError(), "used") == "9437184");
    CHECK(text(limit.getResult().getError().getMessage()) ==
          "cannot create volume \"more\": the total size of a user's volumes is limited to 10.0 MiB; 9.0 MiB used, 2.0 MiB asked for");

    world.broker.next_answer = static_cast<int>(ErrorCode::Internal);
    const auto internal = alice.create("more", 2 * kMebibyte);
    CHECK(text(internal.getResult().getError().getMessage()) ==
          "cannot create volume \"more\": could not make the image file: No space left on device");
    CHECK(field(internal.getResult().getError(), "errno") == "ENOSPC");

    const std::string long_name(64, 'a');
    for (const char* name : {"", "-a", "a/b", "a b", "\xc3\xa4", long_name.c_str()}) {
        const auto answer = alice.create(name, kMebibyte);
        CHECK(answer.getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
        CHECK(text(answer.getResult().getError().getHint()).find("1 to 63 characters") != std::string::npos);
    }
    for (const std::uint64_t size : {std::uint64_t{0}, kMebibyte - 1, (std::uint64_t{1} << 50U) + 1, ~std::uint64_t{0}}) {
        CHECK(alice.create("x", size).getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    }
    auto soft = alice.volumes.createVolumeRequest();
    soft.setName("soft");
    soft.setSizeBytes(kMebibyte);
    soft.setSoftSizeBytes(1);
    CHECK(alice.wait(soft.send()).getResult().getError().getCode() == rpc::ErrorCode::UNIMPLEMENTED);
    CHECK(alice.wait(alice.host.doctorRequest().send()).getResult().getError().getCode() == rpc::ErrorCode::UNIMPLEMENTED);
}

TEST_CASE("a job is started with exactly what was asked, waited for, and removed") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    Client bob(world, kBob);

    auto [ours, theirs] = make_seqpacket_pair();
    const auto run = [&alice, &given = theirs](const char* volume, const char* target, const char* base = "") {
        auto request = alice.jobs.runRequest();
        auto wanted = request.initRequest();
        auto command = wanted.initCommand(2);
        command.set(0, "echo");
        command.set(1, "hello");
        wanted.setBase(base);
        auto volumes = wanted.initVolumes(1);
        volumes[0].setVolume(volume);
        volumes[0].setTarget(target);
        volumes[0].setReadOnly(true);
        wanted.setControl(kj::heap<DescriptorServer>(Fd(::dup(given.get()))));
        return alice.wait(request.send());
    };
    CHECK(run("nosuch", "").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(run("data", "/proc/x").getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    CHECK(run("data", "relative").getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    const auto no_base = run("data", "", "nosuch");
    CHECK(text(no_base.getResult().getError().getMessage()) == "there is no base \"nosuch\"");

    const auto started = run("data", "/data");
    REQUIRE(started.getResult().isValue());
    const auto id = text(started.getResult().getValue().getJob().getId());
    CHECK(world.broker.start.volumes[0].target.view() == "/data");
    CHECK(world.broker.start.volumes[0].access == protocol::Access::ReadOnly);
    CHECK(world.broker.start.base.view() == "minimal");

    std::vector<char> spec(4096);
    const auto size = ::pread(world.broker.spec.get(), spec.data(), spec.size(), 0);
    REQUIRE(size > 0);
    const auto parsed = parse_job_spec(std::span(spec).first(static_cast<std::size_t>(size)));
    REQUIRE(parsed);
    CHECK(std::string(parsed->arguments[1]) == "hello");
    CHECK(std::string(parsed->environment[1]) == "HOME=/work");
    CHECK(std::string(parsed->working_directory) == "/work");
    REQUIRE(::send(world.broker.control.get(), "x", 1, 0) == 1); // it is the very socket
    char byte = 0;
    CHECK(::recv(ours.get(), &byte, 1, 0) == 1);

    auto by_bob = bob.jobs.waitRequest();
    by_bob.getSelector().setJob(id);
    CHECK(bob.wait(by_bob.send()).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    auto kill = alice.jobs.signalRequest();
    kill.getSelector().setJob(id);
    kill.setSignal(15);
    CHECK(alice.wait(kill.send()).getResult().isValue());
    CHECK(world.broker.signals == 1);
    const auto remove = [&]() {
        auto request = alice.jobs.removeRequest();
        request.getSelector().setJob(id);
        return alice.wait(request.send());
    };
    CHECK(remove().getResult().getError().getCode() == rpc::ErrorCode::IN_USE);

    auto wait = alice.jobs.waitRequest();
    wait.getSelector().setJob(id);
    auto waiting = wait.send();
    auto stop = alice.jobs.stopRequest();
    stop.getSelector().setJob(id);
    stop.setGraceNs(20'000'000);
    auto stopping = stop.send();
    world.turn(100);
    CHECK(world.broker.signals == 3); // TERM and, after the grace, KILL
    world.broker.end_job(*parse_id<JobId>(id), 3);
    const auto ended = alice.wait(kj::mv(waiting));
    CHECK(ended.getResult().getValue().getExit().getStatus() == 3);
    CHECK(text(ended.getResult().getValue().getExit().getReason()) == "exited with code 3");
    CHECK(alice.wait(kj::mv(stopping)).getResult().getValue().getState() == rpc::JobState::ENDED);

    auto list = alice.jobs.listJobsRequest();
    const auto listed = alice.wait(list.send());
    REQUIRE(listed.getResult().getValue().getJobs().size() == 1);
    CHECK(text(listed.getResult().getValue().getJobs()[0].getCommand()[1]) == "hello");
    CHECK(text(listed.getResult().getValue().getJobs()[0].getVolumes()[0].getName()) == "data");
    CHECK(remove().getResult().isValue());
    CHECK(alice.wait(alice.jobs.listJobsRequest().send()).getResult().getValue().getMatching() == 0);
}

TEST_CASE("a control descriptor of another kind never reaches the broker") {
    World world;
    Client alice(world, kAlice);
    std::array<int, 2> stream{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream.data()) == 0);
    const Fd other(stream[1]);
    for (const int fd : {::open("/dev/null", O_RDWR | O_CLOEXEC), ::open("/", O_PATH | O_CLOEXEC), stream[0]}) {
        auto request = alice.jobs.runRequest();
        request.initRequest().initCommand(1).set(0, "true");
        request.getRequest().setControl(kj::heap<DescriptorServer>(Fd(fd)));
        const auto answer = alice.wait(request.send());
        CHECK(answer.getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    }
    auto request = alice.jobs.runRequest();
    request.initRequest().initCommand(1).set(0, "true");
    CHECK(alice.wait(request.send()).getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    request = alice.jobs.runRequest();
    request.initRequest().initCommand(1).set(0, "true");
    request.getRequest().setDetached(true);
    CHECK(alice.wait(request.send()).getResult().getError().getCode() == rpc::ErrorCode::UNIMPLEMENTED);
}

TEST_CASE("a client that sends hostile bytes loses its own connection and no other") {
    World world;
    Client alice(world, kAlice);
    REQUIRE(alice.create("data", kMebibyte).getResult().isValue());
    unsigned seed = 7;
    constexpr int kClients = 200;
    for (int i = 0; i < kClients; ++i) {
        const Fd hostile = world.broker.connect(kBob, false);
        std::array<unsigned char, 512> bytes{};
        for (auto& byte : bytes) {
            seed = seed * 1103515245U + 12345U;
            byte = static_cast<unsigned char>(seed >> 16U);
        }
        if (i % 3 == 0) { // a frame that is well formed, with garbage in it
            const std::array<std::uint32_t, 2> frame = {0, 63};
            std::memcpy(bytes.data(), frame.data(), sizeof frame);
        } else if (i % 3 == 1) { // one that claims to be huge
            const std::array<std::uint32_t, 2> frame = {0, 0xffffffffU};
            std::memcpy(bytes.data(), frame.data(), sizeof frame);
        }
        CHECK(::send(hostile.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0);
        ::shutdown(hostile.get(), SHUT_WR);
        world.turn(1);
    }
    CHECK(world.eventually([&]() { return world.broker.closed_connections == kClients; }));
    CHECK(alice.get("data").getResult().isValue());
}

TEST_CASE("a client that leaves its answers open, or never reads them, is dropped") {
    ApiConfig config;
    config.unread_seconds = 1;
    config.max_unread_bytes = 64 * kKiB;
    config.calls_per_connection = 16;
    World world(
        [](FakeBroker& broker) {
            for (int i = 0; i < 400; ++i) {
                broker.add_volume(kAlice, fmt::format("v{}", i));
            }
        },
        config);
    Client alice(world, kAlice);
    SUBCASE("open answers") {
        kj::Vector<capnp::RemotePromise<rpc::Joblet::VersionResults>> kept;
        for (int i = 0; i < 1000; ++i) {
            kept.add(alice.joblet.versionRequest().send());
        }
        CHECK(world.eventually([&]() { return world.broker.closed_connections == 1; }));
    }
    SUBCASE("never reads") {
        // A recorded conversation is replayed: bootstrap, then the same list over and over, with a Finish each
        Fd mute = world.broker.connect(kAlice, false);
        REQUIRE(::fcntl(mute.get(), F_SETFL, O_NONBLOCK) == 0);
        const auto send = [&mute](const std::function<void(capnp::rpc::Message::Builder)>& make) {
            capnp::MallocMessageBuilder message;
            make(message.initRoot<capnp::rpc::Message>());
            const auto words = capnp::messageToFlatArray(message);
            const auto bytes = words.asBytes();
            return ::send(mute.get(), bytes.begin(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
        };
        REQUIRE(send([](capnp::rpc::Message::Builder message) { message.initBootstrap().setQuestionId(0); }));
        REQUIRE(send([](capnp::rpc::Message::Builder message) {
            auto call = message.initCall();
            call.setQuestionId(1);
            call.initTarget().initPromisedAnswer().setQuestionId(0);
            call.setInterfaceId(capnp::typeId<rpc::Joblet>());
            call.setMethodId(1);
            call.initParams();
        }));
        std::size_t sent = 0;
        const bool dropped = world.eventually([&]() {
            for (unsigned i = 2; i < 8; ++i) {
                sent += static_cast<std::size_t>(send([i](capnp::rpc::Message::Builder message) {
                    auto call = message.initCall();
                    call.setQuestionId(i);
                    auto target = call.initTarget().initPromisedAnswer();
                    target.setQuestionId(1);
                    target.initTransform(1)[0].setGetPointerField(0);
                    call.setInterfaceId(capnp::typeId<rpc::VolumeService>());
                    call.setMethodId(1);
                    auto page = call.initParams().getContent().initAs<rpc::VolumeService::ListVolumesParams>().initPage();
                    page.setSize(1000);
                }));
                sent +=
                    static_cast<std::size_t>(send([i](capnp::rpc::Message::Builder message) { message.initFinish().setQuestionId(i); }));
            }
            return world.broker.closed_connections == 1;
        });
        CHECK(dropped);
        CHECK(sent < 5000); // and was not read long before
    }
    Client again(world, kAlice);
    CHECK(again.get("v1").getResult().isValue());
}

TEST_CASE("calls and waits of one connection are bounded") {
    ApiConfig config;
    config.waits_per_connection = 2;
    World world({}, config);
    Client alice(world, kAlice);
    auto [ours, theirs] = make_seqpacket_pair();
    auto request = alice.jobs.runRequest();
    request.initRequest().initCommand(1).set(0, "true");
    request.getRequest().setControl(kj::heap<DescriptorServer>(std::move(theirs)));
    const auto started = alice.wait(request.send());
    REQUIRE(started.getResult().isValue());
    const auto wait = [&]() {
        auto one = alice.jobs.waitRequest();
        one.getSelector().setJob(started.getResult().getValue().getJob().getId());
        return one.send();
    };
    {
        auto first = wait();
        auto second = wait();
        const auto third = alice.wait(wait());
        CHECK(third.getResult().getError().getCode() == rpc::ErrorCode::LIMIT_EXCEEDED);
    }
    world.turn(50); // both were given up: there is room again
    auto fourth = wait();
    world.broker.end_job(*parse_id<JobId>(text(started.getResult().getValue().getJob().getId())), 0);
    CHECK(alice.wait(kj::mv(fourth)).getResult().isValue());
}

TEST_CASE("a hundred clients at once, each in a name space of his own") {
    World world;
    std::vector<std::unique_ptr<Client>> clients;
    kj::Vector<kj::Promise<bool>> created;
    for (std::uint32_t i = 0; i < 100; ++i) {
        clients.push_back(std::make_unique<Client>(world, 2000 + i));
        for (int k = 0; k < 10; ++k) {
            auto request = clients.back()->volumes.createVolumeRequest();
            request.setName(fmt::format("v{}", k));
            request.setSizeBytes(kMebibyte);
            created.add(request.send().then([](auto&& answer) { return answer.getResult().isValue(); }));
        }
    }
    const auto done = clients.front()->wait(kj::joinPromises(created.releaseAsArray()));
    CHECK(std::ranges::all_of(done, [](bool ok) { return ok; }));
    clients.clear();
    CHECK(world.eventually([&]() { return world.broker.closed_connections == 100; }));
}

TEST_CASE("the daemon ends when the broker goes, and at once when it makes no sense") {
    World world;
    Client alice(world, kAlice);
    REQUIRE(alice.create("data", kMebibyte).getResult().isValue());
    SUBCASE("gone") {
        world.broker.hang_up();
        CHECK_NOTHROW(alice.wait(kj::mv(world.running)));
    }
    SUBCASE("garbage") {
        world.broker.send_garbage();
        CHECK_THROWS_AS(alice.wait(kj::mv(world.running)), kj::Exception);
    }
    world.running = nullptr;
}
