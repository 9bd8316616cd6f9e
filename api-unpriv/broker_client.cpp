#include "api-unpriv/broker_client.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <kj/debug.h>

#include "shared/log.h"

namespace joblet::api {

namespace {

// After so many datagrams in one go others get a turn of the event loop.
constexpr int kDatagramsPerTurn = 64;

Answer refusal(protocol::RequestType type) {
    protocol::Reply reply;
    reply.request = type;
    reply.code = ErrorCode::Unavailable;
    return {reply, {}};
}

// Ends the run: a broker that is not to be understood is not ours.
[[noreturn]] void refuse_broker(const std::string& why) {
    kj::throwFatalException(KJ_EXCEPTION(FAILED, why.c_str()));
}

template <class... Handlers> struct Overloaded : Handlers... {
    using Handlers::operator()...;
};

} // namespace

BrokerClient::BrokerClient(kj::UnixEventPort& port, int socket, BrokerListener& listener)
    : socket_(socket), listener_(listener), observer_(port, socket, kj::UnixEventPort::FdObserver::OBSERVE_READ_WRITE), tasks_(*this) {}

kj::Promise<void> BrokerClient::run() {
    // From the loop, never recursively: a broker that talks a lot must not deepen the stack
    return kj::evalLater([this]() { return read_some(); });
}

kj::Promise<void> BrokerClient::read_some() {
    for (int i = 0; i < kDatagramsPerTurn; ++i) {
        auto received = receive_datagram(socket_, buffer_, Wait::No);
        if (!received) {
            switch (received.error()) {
            case ReceiveError::WouldBlock:
                return observer_.whenBecomesReadable().then([this]() { return read_some(); });
            case ReceiveError::Closed:
                return kj::READY_NOW;
            case ReceiveError::Descriptors:
            case ReceiveError::Truncated:
            case ReceiveError::Failed:
                break;
            }
            refuse_broker(std::string("cannot receive from the broker: ") + std::strerror(errno));
        }
        auto message = protocol::decode_message(std::span(buffer_).first(received->size), received->descriptors.size());
        if (!message) {
            refuse_broker("the broker sent a message that does not decode");
        }
        dispatch(*message, std::move(received->descriptors));
    }
    return run();
}

void BrokerClient::dispatch(const protocol::Message& message, std::vector<Fd> descriptors) {
    std::visit(Overloaded{
                   [&](const protocol::Connection& news) { listener_.on_connection(news, std::move(descriptors.at(0))); },
                   [&](const protocol::VolumeChanged& news) { listener_.on_volume_changed(news); },
                   [&](const protocol::VolumeGone& news) { listener_.on_volume_gone(news.id); },
                   [&](const protocol::JobChanged& news) { listener_.on_job_changed(news.job); },
                   [&](const auto& /*a reply*/) {
                       const auto& reply = reply_of(message);
                       settle(reply.sequence, reply.request, {message, std::move(descriptors)});
                   },
               },
               message);
}

void BrokerClient::settle(std::uint64_t sequence, protocol::RequestType type, Answer answer) {
    const auto waiting = pending_.find(sequence);
    if (waiting == pending_.end() || waiting->second.type != type) {
        refuse_broker("the broker sent a reply that nobody asked for");
    }
    waiting->second.fulfiller->fulfill(std::move(answer));
    pending_.erase(waiting);
}

kj::Promise<Answer> BrokerClient::enqueue(Outgoing outgoing) {
    if (outgoing_.size() >= kOutgoingMax || pending_.size() >= kPendingMax) {
        return refusal(outgoing.type);
    }
    auto paf = kj::newPromiseAndFulfiller<Answer>();
    outgoing.fulfiller = kj::mv(paf.fulfiller);
    outgoing_.push_back(std::move(outgoing));
    if (!window_full_) {
        send_waiting();
    }
    return kj::mv(paf.promise);
}

BrokerClient::Sent BrokerClient::send(Outgoing& outgoing) {
    std::memcpy(outgoing.bytes.data() + offsetof(protocol::RequestHeader, sequence), &next_sequence_, sizeof next_sequence_);
    if (send_datagram(socket_, outgoing.bytes, {}, Wait::No)) {
        return Sent::Yes;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK ? Sent::Full : Sent::Refused;
}

// A number is used up only by a datagram that went out: a gap would be fatal at the other end.
void BrokerClient::send_waiting() {
    while (!outgoing_.empty()) {
        Outgoing& first = outgoing_.front();
        switch (send(first)) {
        case Sent::Full:
            window_full_ = true;
            tasks_.add(observer_.whenBecomesWritable().then([this]() {
                window_full_ = false;
                send_waiting();
            }));
            return;
        case Sent::Yes:
            pending_.emplace(next_sequence_, Pending{first.type, kj::mv(first.fulfiller)});
            ++next_sequence_;
            break;
        case Sent::Refused: // no memory: this one's misfortune. A broker that is gone is noticed by reading
            log::warning(std::string("a request could not be sent to the broker: ") + std::strerror(errno));
            first.fulfiller->fulfill(refusal(first.type));
            break;
        }
        outgoing_.pop_front();
    }
}

void BrokerClient::taskFailed(kj::Exception&& exception) {
    log::error(std::string("waiting for the broker failed: ") + exception.getDescription().cStr());
}

const protocol::Reply& reply_of(const protocol::Message& message) {
    const auto* reply = std::visit(
        []<class Kind>(const Kind& kind) -> const protocol::Reply* {
            if constexpr (std::is_same_v<Kind, protocol::Reply>) {
                return &kind;
            } else if constexpr (requires { kind.reply; }) {
                return &kind.reply;
            } else {
                return nullptr;
            }
        },
        message);
    return reply != nullptr ? *reply : std::get<protocol::Reply>(message); // which throws
}

} // namespace joblet::api
