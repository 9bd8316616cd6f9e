#include "tests/boundary/attacker/attack.h"

#include <doctest/doctest.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tests/system/vm_parts.h"

namespace joblet::testing {

namespace fs = std::filesystem;

namespace {

constexpr auto kPrograms = std::array{"jobletd", "joblet-broker", "joblet-worker", "joblet-spawner"};
constexpr auto kAnswerLimit = seconds(30);

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(&address.sun_path[0], sizeof address.sun_path - 1);
    return address;
}

} // namespace

Programs::Programs() {
    std::string path = "/var/lib/joblet-attacker.XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) {
        throw std::runtime_error("no directory below /var/lib");
    }
    directory_ = path;
    ::chmod(directory_.c_str(), 0755);
    for (const char* const name : kPrograms) {
        fs::copy_file(binary(name), directory_ + "/" + name);
    }
    fs::copy_file(binary("joblet-puppet"), directory_ + "/joblet-api");
    const auto address = address_of(directory_ + "/end");
    listener_ = Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(listener_.get(), 8) != 0 ||
        ::chmod((directory_ + "/end").c_str(), 0666) != 0) {
        throw std::runtime_error("no socket for the puppet");
    }
}

Programs::~Programs() {
    std::error_code error;
    fs::remove_all(directory_, error);
    CHECK_MESSAGE(!error, "could not remove ", directory_);
}

std::unique_ptr<ApiEnd> Programs::next(milliseconds limit) const {
    pollfd one{listener_.get(), POLLIN, 0};
    if (::poll(&one, 1, static_cast<int>(limit.count()) * patience()) <= 0) {
        return nullptr;
    }
    Fd puppet(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    pid_t pid = -1;
    std::array<std::byte, sizeof pid> word{};
    auto received = receive_datagram(puppet.get(), word, Wait::Yes);
    if (!received || received->size != sizeof pid || received->descriptors.size() != 1) {
        return next(limit); // it was ended before it could say anything
    }
    std::memcpy(&pid, word.data(), sizeof pid);
    return std::make_unique<ApiEnd>(std::move(puppet), pid, std::move(received->descriptors.front()));
}

Attack::Attack(const std::string& more_configuration) {
    canary_ = std::make_unique<Canary>(programs_.directory() + "/canary");
    Installation::Options options;
    options.broker_toml = fmt::format("[admins]\nusers = [{}]\n[workers]\ncount = 2\n[slots]\ncount = 64\n"
                                      "[limits]\nvolumes = 60\nrunning_jobs = 20\nconnections = 16\nlargest_volume = \"64MiB\"\n"
                                      "total_size = \"1GiB\"\n[jobs]\nended_kept = 1000\n"
                                      "[audit]\nfile_size = \"1GiB\"\n[volumes]\ntrash_retention = \"1h\"\ncleaner_interval = \"1s\"\n{}",
                                      kAdmin, more_configuration);
    options.binaries = programs_.directory();
    if (has_quota_store()) {
        options.arguments = {"--enable-controllers"};
        options.store = {quota_kind(), "320M"};
    }
    options.is_ready = [this](const Installation&) {
        if (!end_) {
            end_ = programs_.next(milliseconds(100));
        }
        return end_ != nullptr;
    };
    here_ = std::make_unique<Installation>(options);
    audit_ = std::make_unique<AuditView>(here_->root() + "/var/log/joblet/audit.jsonl");
    // Served when all records have been read
    if (reply_to(kNobody, protocol::ListVolumes{}).code != ErrorCode::Ok) {
        throw std::runtime_error("the broker does not serve");
    }
    if (!becomes_true([this] { return here_->daemons("joblet-worker").size() == 2 && KernelView::daemons_are_ready(*here_); })) {
        throw std::runtime_error("the daemons do not become ready");
    }
    kernel_ = std::make_unique<KernelView>(*here_);
}

Attack::~Attack() {
    // No other API is taken: jobletd waits for it to end
    programs_.close();
    end_.reset();
    here_->stop();
    // Whatever it did, the log of it is whole, and signed to its end
    const auto verified = here_->run_rnx({"audit", "verify", audit_->file()});
    CHECK_MESSAGE(verified.status == 0, verified.out, verified.err);
}

Attack::HandedOver Attack::hand_over(uid_t uid) {
    Fd own(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto address = address_of(here_->socket());
    // The kernel takes the ids of whoever calls connect(2)
    const pid_t child = ::fork();
    if (child == 0) {
        const bool good = ::setresgid(uid, uid, uid) == 0 && ::setresuid(uid, uid, uid) == 0 &&
                          ::connect(own.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
        ::_exit(good ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) {
        throw std::runtime_error("could not connect to api.sock");
    }
    if (!becomes_true([this] {
            read_on();
            return !arrived_.empty();
        })) {
        throw std::runtime_error("the broker does not hand over a connection");
    }
    auto [message, given] = std::move(arrived_.front());
    arrived_.pop_front();
    CHECK(message.uid == uid);
    CHECK(message.gid == uid);
    CHECK(message.pid == static_cast<std::uint32_t>(child));
    CHECK((message.admin == 1) == (uid == kAdmin || uid == 0));
    CHECK(!clients_.contains(message.number));
    CHECK(!refused_.contains(message.number));
    return {message, {{uid, uid == kAdmin || uid == 0}, std::move(own), std::move(given)}};
}

Connection Attack::connect(uid_t uid) {
    auto [message, client] = hand_over(uid);
    if (message.refusal != protocol::ConnectionRefusal::None) {
        throw std::runtime_error("the broker refuses a connection");
    }
    clients_.emplace(message.number, std::move(client));
    return message.number;
}

protocol::Connection Attack::connect_refused(uid_t uid) {
    auto [message, client] = hand_over(uid);
    REQUIRE(message.refusal != protocol::ConnectionRefusal::None);
    refused_.emplace(message.number, std::move(client));
    return message;
}

// The broker hears of it before it hears of what is sent after this: epoll(7) tells in the order in which it came to be.
void Attack::hang_up(Connection connection) {
    clients_.erase(connection);
    channels_.erase(connection);
    refused_.erase(connection);
}

// Before it is answered: requests are taken in order.
bool Attack::follow_channels(const protocol::Request& request) {
    if (const auto* const start = std::get_if<protocol::StartJob>(&request)) {
        return channels_[start->header.connection].erase(start->channel) == 1;
    }
    if (const auto* const create = std::get_if<protocol::CreateChannel>(&request)) {
        auto& there = channels_[create->header.connection];
        there.erase(create->replaces);
        return there.size() < protocol::kChannelsMax && there.insert(create->header.sequence).second;
    }
    return false;
}

std::size_t Attack::channels() const {
    std::size_t count = 0;
    for (const auto& [connection, there] : channels_) {
        count += there.size();
    }
    return count;
}

std::uint64_t Attack::send_request(protocol::Request request) {
    return std::visit(
        [&](auto& r) {
            r.header.version = protocol::kVersion;
            r.header.type = r.kType;
            r.header.sequence = end_->next_sequence();
            const auto client = clients_.find(r.header.connection);
            // Requests are taken in order: after a CloseConnection there is no connection, answered or not
            const bool is_closing = std::ranges::any_of(pending_, [&r](const auto& entry) {
                return std::holds_alternative<protocol::CloseConnection>(entry.second.request) &&
                       protocol::header_of(entry.second.request).connection == r.header.connection;
            });
            const auto asker = client == clients_.end() || is_closing ? std::nullopt : std::optional(client->second.asker);
            if (!end_->send(std::as_bytes(std::span(&r, 1)))) {
                throw std::runtime_error(fmt::format("could not send {}: {}", protocol::row_of(r.kType).name, std::strerror(errno)));
            }
            ++steps_;
            audit_->expect(r, asker);
            pending_.emplace(r.header.sequence, Pending{r, asker, asker && follow_channels(r)});
            return r.header.sequence;
        },
        request);
}

protocol::Reply Attack::plain(const Incoming& incoming) {
    return std::visit(
        [](const auto& one) {
            if constexpr (std::is_same_v<std::remove_cvref_t<decltype(one)>, protocol::Reply>) {
                return one;
            } else if constexpr (requires { one.reply; }) {
                return one.reply;
            } else {
                return protocol::Reply{};
            }
        },
        incoming.message);
}

void Attack::handle(Incoming incoming) {
    if (const auto* const connection = std::get_if<protocol::Connection>(&incoming.message)) {
        arrived_.emplace_back(*connection, std::move(incoming.descriptors.front()));
        return;
    }
    const auto reply = plain(incoming);
    if (reply.sequence == 0) {
        model_.hear(incoming.message);
        return;
    }
    const auto asked = pending_.find(reply.sequence);
    if (asked == pending_.end()) {
        FAIL_CHECK("an answer to nothing, or a second one");
        return;
    }
    const auto& [request, asker, has_channel] = asked->second;
    for (const auto& objection : model_.take(request, asker, incoming.message)) {
        FAIL_CHECK(describe(request, asker), " was answered ", error_code_name(reply.code), ": ", objection);
    }
    CHECK(reply.request == protocol::header_of(request).type);
    if (asker && clients_.contains(protocol::header_of(request).connection)) {
        if (const auto* const start = std::get_if<protocol::StartJob>(&request)) {
            const bool is_missed = reply.code == ErrorCode::NotFound && reply.step == Step::ReadJobSpec;
            CHECK(is_missed == (!has_channel && (start->flags & protocol::kStartDryRun) == 0));
        } else if (reply.request == protocol::RequestType::CreateChannel) {
            CHECK(reply.code == (has_channel ? ErrorCode::Ok : ErrorCode::LimitExceeded));
        }
    }
    audit_->expect_answer(reply.sequence, reply.code);
    if (const auto* const closed = std::get_if<protocol::CloseConnection>(&request); closed != nullptr && reply.code == ErrorCode::Ok) {
        const auto client = clients_.find(closed->header.connection);
        if (client != clients_.end()) {
            pollfd one{client->second.own.get(), POLLIN | POLLRDHUP, 0};
            CHECK_MESSAGE(::poll(&one, 1, 1000) == 1, "a client does not notice that its connection was closed");
            channels_.erase(client->first);
            clients_.erase(client);
        }
    }
    answers_.insert_or_assign(reply.sequence, std::move(incoming));
    pending_.erase(asked);
}

void Attack::read_on() {
    while (auto incoming = end_->receive(milliseconds(0))) {
        handle(std::move(*incoming));
    }
}

Incoming Attack::wait(std::uint64_t sequence) {
    const auto until = std::chrono::steady_clock::now() + kAnswerLimit * patience();
    for (;;) {
        if (const auto found = answers_.find(sequence); found != answers_.end()) {
            Incoming out = std::move(found->second);
            answers_.erase(found);
            return out;
        }
        if (auto incoming = end_->receive(milliseconds(100))) {
            handle(std::move(*incoming));
        } else if (end_->is_closed() || std::chrono::steady_clock::now() >= until) {
            const auto asked = pending_.find(sequence);
            const std::string what = asked == pending_.end() ? "?" : describe(asked->second.request, asked->second.asker);
            print_logs();
            throw std::runtime_error(fmt::format("{}: {}", what, end_->is_closed() ? "the broker closed" : "no answer"));
        }
    }
}

void Attack::lose_clients() {
    for (const auto& [number, client] : clients_) {
        pollfd one{client.own.get(), POLLIN | POLLRDHUP, 0};
        CHECK_MESSAGE(::poll(&one, 1, 5000 * patience()) == 1, "a client does not notice the end of its API");
    }
    clients_.clear();
    channels_.clear();
    refused_.clear();
    arrived_.clear();
    answers_.clear();
}

void Attack::take_next_end() {
    end_ = programs_.next(seconds(10));
    if (!end_) {
        throw std::runtime_error("no other API was started");
    }
    learn();
}

void Attack::must_be_ended(const std::string& what, const std::string& why) {
    ++steps_;
    CHECK_MESSAGE(end_->is_ended(seconds(10)), what, " did not end the API");
    while (end_->receive(milliseconds(1000))) { // what it was told before
    }
    CHECK_MESSAGE(end_->is_closed(), "the broker holds on to an API that was ended");
    audit_->expect_parting(why);
    audit_->forgive_unanswered();
    lose_clients();
    take_next_end();
}

void Attack::die() {
    ++steps_;
    end_->die();
    audit_->expect_parting("closed");
    audit_->forgive_unanswered();
    lose_clients();
    take_next_end();
}

} // namespace joblet::testing
