#include "tests/fuzz/client_world.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "shared/job_spec.h"
#include "shared/protocol_messages.h"
#include "tests/fuzz/fuzz.h"

namespace joblet::fuzz {

namespace {

using namespace protocol;

constexpr int kTurns = 400; // more than any input needs

VolumeId volume_id(std::uint8_t number) {
    VolumeId id;
    id.bytes.fill(number);
    return id;
}
JobId job_id(std::uint8_t number) {
    JobId id;
    id.bytes.fill(number);
    return id;
}

VolumeEntry volume(std::uint8_t number, std::uint32_t owner, const char* name) {
    VolumeEntry entry;
    entry.id = volume_id(number);
    entry.name = NameText(name);
    entry.size_bytes = kVolumeSizeMin;
    entry.created_ns = number;
    entry.owner_uid = owner;
    entry.type = VolumeType::Filesystem;
    entry.backend = Backend::ProjectQuota;
    entry.status = VolumeStatus::Available;
    return entry;
}

JobEntry job(std::uint8_t number, std::uint32_t owner, JobState state) {
    JobEntry entry;
    entry.id = job_id(number);
    entry.started_ns = number;
    entry.owner_uid = owner;
    entry.state = state;
    if (state == JobState::Ended) {
        entry.exit.magic = kExitMagic;
        entry.exit.kind = ExitKind::Exited;
    }
    return entry;
}

// Alice has three, one of them in the trash; Bob has two.
VolumePage all_volumes() {
    VolumePage page;
    page.volumes[0] = volume(0x11, kAlice, "data");
    page.volumes[1] = volume(0x12, kAlice, "logs");
    page.volumes[1].backend = Backend::Tmpfs;
    page.volumes[1].type = VolumeType::Memory;
    page.volumes[2] = volume(0x13, kAlice, "data");
    page.volumes[2].status = VolumeStatus::Trashed;
    page.volumes[2].trashed_until_ns = 5000;
    page.volumes[3] = volume(0x21, kBob, "secret");
    page.volumes[4] = volume(0x22, kBob, "data");
    page.volumes[0].labels_size = 4;
    page.labels[0] = 'k';
    page.labels[2] = 'v';
    page.reply.count = 5;
    return page;
}
JobPage all_jobs() {
    JobPage page;
    page.jobs[0] = job(0x31, kAlice, JobState::Running);
    page.jobs[1] = job(0x32, kAlice, JobState::Ended);
    page.jobs[2] = job(0x41, kBob, JobState::Running);
    page.jobs[3] = job(0x42, kBob, JobState::Ended);
    page.reply.count = 4;
    return page;
}

bool is_alices(const VolumeId& id) {
    return id.bytes[0] >> 4U == 1;
}
bool is_alices(const JobId& id) {
    return id.bytes[0] >> 4U == 3;
}

// The number that the next descriptor gets.
int next_descriptor() {
    const int next = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    ::close(next);
    return next;
}

} // namespace

ClientWorld::ClientWorld() : pair_(make_seqpacket_pair()), io_(kj::setupAsyncIo()), store_(std::nullopt, {}) {
    daemon_.emplace(io_, pair_.first.get(), store_, config_, api::Landlock::On);
    running_ = daemon_->run({}, {})
                   .then([this]() { is_running_ = false; }, [this](kj::Exception&& /*why*/) { is_running_ = false; })
                   .eagerlyEvaluate(nullptr);
    turn();
}

bool ClientWorld::serve(const std::vector<std::string>& parts, std::size_t descriptors, const Broker& broker) {
    const int before = next_descriptor();
    broker_ = broker;
    is_closed_ = false;
    {
        std::array<int, 2> ends{};
        require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0, "there are sockets");
        const Fd client(ends[0]);
        Fd server(ends[1]);
        Connection news;
        news.number = ++connection_;
        news.uid = kAlice;
        news.admin = broker.is_admin ? 1 : 0;
        require(send_message(pair_.second.get(), news, std::span(&ends[1], 1), Wait::No), "the API is there");
        server.reset();
        turn();
        for (const auto& part : parts) {
            std::pair<Fd, Fd> control = descriptors > 0 ? make_seqpacket_pair() : std::pair<Fd, Fd>();
            const int given = control.second.get();
            if (!send_datagram(client.get(), std::as_bytes(std::span(part)), std::span(&given, descriptors > 0 ? 1 : 0), Wait::No)) {
                break; // it is no longer listened to
            }
            descriptors -= descriptors > 0 ? 1 : 0;
            turn();
        }
    }
    turn();
    require(is_running_, "no client ends the API");
    return is_closed_ && next_descriptor() == before;
}

// Until nobody has anything to say.
void ClientWorld::turn() {
    for (int i = 0; i < kTurns; ++i) {
        io_.waitScope.poll();
        if (!answer_one()) {
            io_.waitScope.poll();
            if (!answer_one()) {
                return;
            }
        }
    }
    require(false, "a client keeps the API busy for ever");
}

bool ClientWorld::answer_one() {
    std::array<std::byte, kRequestSizeMax> buffer;
    const auto received = receive_datagram(pair_.second.get(), buffer, Wait::No);
    if (!received) {
        require(received.error() == ReceiveError::WouldBlock, "the API keeps its end of the boundary");
        return false;
    }
    // What the broker does not understand is the end of the API, and of all its clients
    const auto request = decode(std::span(buffer).first(received->size));
    require(request.has_value() && received->descriptors.empty(), "what the API sends decodes, whatever a client asked for");
    require(header_of(*request).sequence == ++sequence_, "each request has its number");
    check_asked(*request);
    answer(*request);
    return true;
}

// A client who is no admin cannot even make the API ask about what is not his.
void ClientWorld::check_asked(const Request& request) const {
    const auto& header = header_of(request);
    require(header.connection == 0 || header.connection == connection_, "the API asks for the client who is there");
    const auto check = [this, &header]<class R>(const R& r) {
        if constexpr (requires { r.authority; }) {
            require(broker_.is_admin || r.authority == Authority::User, "only an admin uses an admin's power");
        }
        if (header.connection == 0 || broker_.is_admin) {
            return;
        }
        if constexpr (requires { r.id; }) {
            require(is_alices(r.id), "a user asks about what is his");
        }
        if constexpr (requires { r.job; }) {
            require(is_alices(r.job), "a user asks about what is his");
        }
        if constexpr (std::is_same_v<R, StartJob>) {
            for (const auto& used : std::span(r.volumes).first(r.volume_count)) {
                require(is_alices(used.id), "a user uses what is his");
            }
        }
        require((!std::is_same_v<R, AdminRead>), "only an admin reads what is not his");
    };
    std::visit(check, request);
    if (const auto* start = std::get_if<StartJob>(&request)) { // also an admin
        for (const auto& used : std::span(start->volumes).first(start->volume_count)) {
            require(is_alices(used.id), "nobody runs a job on another's volume");
        }
    }
}

template <class M> void ClientWorld::reply(M message, const RequestHeader& header, std::span<const int> descriptors) {
    Reply& head = [&message]() -> Reply& {
        if constexpr (std::is_same_v<M, Reply>) {
            return message;
        } else {
            return message.reply;
        }
    }();
    head.request = header.type;
    head.sequence = header.sequence;
    require(decode_message(std::as_bytes(std::span(&message, 1)), descriptors.size()).has_value(), "the fuzzer's broker says what decodes");
    require(send_message(pair_.second.get(), message, descriptors, Wait::No), "the API listens to the broker");
}

void ClientWorld::answer(const Request& request) {
    const auto& header = header_of(request);
    Reply refused;
    refused.code = broker_.verdict;
    refused.volume = volume_id(0x11);
    refused.job = job_id(0x31);
    refused.limit = 1;
    refused.which = 1;
    switch (header.type) {
    case RequestType::ListVolumes:
        return reply(all_volumes(), header);
    case RequestType::ListJobs:
        return reply(all_jobs(), header);
    case RequestType::ListBases: {
        BaseList list;
        list.reply.count = 1;
        list.bases[0] = {NameText("minimal"), ProcKind::Pids, 1};
        return reply(list, header);
    }
    case RequestType::StatVolume: {
        const auto page = all_volumes();
        for (const auto& entry : page.volumes) {
            if (entry.id == std::get<StatVolume>(request).id) {
                VolumeDetail detail;
                detail.volume = entry;
                std::copy_n(page.labels.begin(), entry.labels_size, detail.labels.begin());
                return reply(detail, header);
            }
        }
        break;
    }
    case RequestType::StartJob:
        if ((std::get<StartJob>(request).flags & kStartDryRun) != 0) {
            return reply(JobWorld{}, header);
        }
        break;
    case RequestType::CreateChannel: {
        const auto [jobs, users] = make_seqpacket_pair();
        const Fd memory = make_spec_memory();
        return reply(Reply{}, header, std::array{users.get(), memory.get()});
    }
    case RequestType::MeasureVolume:
        return reply(VolumeMeasure{}, header);
    case RequestType::HostReport:
        return reply(HostFacts{}, header);
    case RequestType::AdminRead:
        return reply(Reply{}, header);
    case RequestType::CloseConnection:
        is_closed_ = true;
        return reply(Reply{}, header);
    default:
        break;
    }
    reply(refused, header);
}

} // namespace joblet::fuzz
