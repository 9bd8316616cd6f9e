#include "broker-root/broker/doorman.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "shared/id.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

// A connection that is not served lives just so long that its client can be told why, and few at once for one user.
constexpr std::uint64_t kRefusedPerUid = 4;
constexpr std::chrono::seconds kRefusedFor{5};

std::uint64_t held(const std::unordered_map<std::uint32_t, std::uint64_t>& per_uid, std::uint32_t uid) {
    const auto found = per_uid.find(uid);
    return found == per_uid.end() ? 0 : found->second;
}

// Then all others have a turn: whoever connects without end is refused without end, and must not keep this loop.
constexpr int kAcceptedPerTurn = 32;
constexpr std::chrono::seconds kPause{1};
constexpr std::chrono::seconds kSilence{1}; // whoever can connect could otherwise fill the log

bool contains(const std::vector<std::uint32_t>& list, std::uint32_t id) {
    return std::ranges::find(list, id) != list.end();
}

// A random epoch, so that a number from an earlier broker's life never names a connection of this one.
protocol::ConnectionNumber first_number() {
    const auto bytes = random_bytes16();
    protocol::ConnectionNumber number = 0;
    std::memcpy(&number, bytes.data(), sizeof number);
    return (number & 0x7fffffff00000000ULL) + 1;
}

// That he hung up is known at once to the kernel, and to the loop when it comes to it: after requests that are already there.
bool is_gone(const Fd& client) {
    const msghdr nothing{}; // no byte: nothing reaches him, and without him it is an error
    return ::sendmsg(client.get(), &nothing, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EPIPE;
}

} // namespace

Doorman::Doorman(EventLoop& loop, const BrokerConfig& config, Fd listener, ApiLink& api, Closer& closer, DescriptorBudget& budget)
    : loop_(loop), config_(config), listener_(std::move(listener)), api_(api), closer_(closer), budget_(budget),
      watch_(loop.watch(listener_.get(), 0, [this](std::uint32_t) { accept(); })), next_(first_number()) {}

void Doorman::update() {
    const bool wanted = has_room();
    if (wanted != accepting_) {
        accepting_ = wanted;
        loop_.change(watch_, wanted ? EPOLLIN : 0U);
    }
}

bool Doorman::may_connect(const Client& client) const {
    if (config_.allowed_uids.empty() && config_.allowed_gids.empty()) {
        return true;
    }
    return client.admin || contains(config_.allowed_uids, client.uid) || contains(config_.allowed_gids, client.gid);
}

void Doorman::accept() {
    for (int i = 0; i < kAcceptedPerTurn && has_room(); ++i) {
        Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!socket.valid()) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                pause(errno);
            }
            break;
        }
        if (!admit(socket)) {
            closer_.close(std::move(socket));
        }
    }
    update();
}

// The client waits in the listener's queue, which the loop would be told of again and again.
void Doorman::pause(int error) {
    log::error(fmt::format("no client can be accepted for a second: {}", std::strerror(error)));
    is_paused_ = true;
    loop_.after(kPause, [this] {
        is_paused_ = false;
        update();
    });
}

bool Doorman::admit(Fd& socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return false;
    }
    const Client client{peer.uid, peer.gid, static_cast<std::uint32_t>(peer.pid), peer.uid == 0 || contains(config_.admin_uids, peer.uid)};
    const auto refusal = refusal_of(client);
    const bool is_refused = refusal != protocol::ConnectionRefusal::None;
    protocol::Connection message;
    if (refusal == protocol::ConnectionRefusal::TooMany) {
        message.allowed = config_.limits_of(client.uid).connections;
        tell_refusal(client.uid, fmt::format("has {} connections, no more are allowed", message.allowed));
    } else if (is_refused) {
        tell_refusal(client.uid, "is not on the lists of those who may connect");
    }
    if (is_refused && held(refused_, client.uid) >= kRefusedPerUid) {
        return false;
    }
    Fd duplicate(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
    if (!duplicate.valid()) {
        return false;
    }
    const protocol::ConnectionNumber number = next_++;
    const auto watch = loop_.watch(duplicate.get(), EPOLLRDHUP, [this, number](std::uint32_t) { close(number); });
    open_.emplace(number, Open{client, std::move(duplicate), watch, is_refused, Channels(closer_, budget_), budget_.take(1)});
    ++(is_refused ? refused_ : per_uid_)[client.uid];
    if (is_refused) {
        loop_.after(kRefusedFor, [this, number] { close(number); });
    }
    message.uid = client.uid;
    message.number = number;
    message.gid = client.gid;
    message.pid = client.pid;
    message.admin = client.admin ? 1 : 0;
    message.refusal = refusal;
    std::vector<Fd> descriptors;
    descriptors.push_back(std::move(socket));
    api_.send(message, std::move(descriptors));
    return true;
}

void Doorman::tell_refusal(std::uint32_t uid, std::string_view why) {
    const auto now = EventLoop::Clock::now();
    if (now < silent_until_) {
        ++not_told_;
        return;
    }
    log::warning(fmt::format("uid {} {}{}", uid, why, not_told_ == 0 ? "" : fmt::format("; {} others were refused, too", not_told_)));
    silent_until_ = now + kSilence;
    not_told_ = 0;
}

const Client* Doorman::find(protocol::ConnectionNumber number) const {
    const auto found = open_.find(number);
    if (found == open_.end() || found->second.is_refused || is_gone(found->second.duplicate)) {
        return nullptr;
    }
    return &found->second.client;
}

Channels* Doorman::channels_of(protocol::ConnectionNumber number) {
    return find(number) != nullptr ? &open_.at(number).channels : nullptr;
}

protocol::ConnectionRefusal Doorman::refusal_of(const Client& client) const {
    if (!may_connect(client)) {
        return protocol::ConnectionRefusal::NotOnTheLists;
    }
    return held(per_uid_, client.uid) >= config_.limits_of(client.uid).connections ? protocol::ConnectionRefusal::TooMany
                                                                                   : protocol::ConnectionRefusal::None;
}

void Doorman::close(protocol::ConnectionNumber number) {
    const auto found = open_.find(number);
    if (found == open_.end()) {
        return;
    }
    Open& open = found->second;
    ::shutdown(open.duplicate.get(), SHUT_RDWR);
    loop_.forget(open.watch);
    auto& counts = open.is_refused ? refused_ : per_uid_;
    if (const auto count = counts.find(open.client.uid); --count->second == 0) {
        counts.erase(count);
    }
    closer_.drain(std::move(open.duplicate));
    open_.erase(found);
    if (!accepting_) {
        update(); // there may be room again
    }
}

void Doorman::close_all() {
    while (!open_.empty()) {
        close(open_.begin()->first);
    }
    update();
}

} // namespace joblet::broker
