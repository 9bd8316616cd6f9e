// This daemon's end of the boundary: requests out, one datagram each, in a bounded window; replies and news in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include <kj/async-unix.h>

#include "shared/datagram.h"
#include "shared/fd.h"
#include "shared/protocol_messages.h"

namespace joblet::api {

// What the broker says of its own accord, in the order in which it happened. These must not throw.
class BrokerListener {
  public:
    BrokerListener() = default;
    BrokerListener(const BrokerListener&) = delete;
    BrokerListener& operator=(const BrokerListener&) = delete;
    virtual ~BrokerListener() noexcept(false) = default; // as what the library's types in a listener have
    virtual void on_connection(const protocol::Connection& connection, Fd socket) = 0;
    virtual void on_volume_changed(const protocol::VolumeChanged& news) = 0;
    virtual void on_volume_gone(const VolumeId& id) = 0;
    virtual void on_job_changed(const protocol::JobEntry& job) = 0;
};

// A reply, and what came with it: nothing, but for a log and a channel.
struct Answer {
    protocol::Message message;
    std::vector<Fd> descriptors;
};

class BrokerClient final : private kj::TaskSet::ErrorHandler {
  public:
    // `socket`: SOCK_SEQPACKET, outlives the client. `listener` likewise.
    BrokerClient(kj::UnixEventPort& port, int socket, BrokerListener& listener);

    // Reads until the broker goes away (resolves) or sends what does not decode, or a reply that nobody asked for (rejects).
    kj::Promise<void> run();

    // The reply. Sequence numbers are given here, in the order of sending. Never rejects: where the window is full, the reply is
    // Unavailable. The request is carried out even if the promise is dropped.
    template <class Request> kj::Promise<protocol::Message> request(Request request) {
        return request_all(request).then([](const Answer& answer) { return answer.message; });
    }
    // Likewise, for a reply that comes with descriptors.
    template <class Request> kj::Promise<Answer> request_all(Request request) {
        request.header.type = Request::kType;
        const auto bytes = std::as_bytes(std::span(&request, 1));
        static_assert(offsetof(Request, header) == 0);
        return enqueue(Outgoing{Request::kType, std::vector<std::byte>(bytes.begin(), bytes.end()), {}});
    }

    // Requests waiting for a reply or for room in the window.
    [[nodiscard]] std::size_t outstanding() const {
        return pending_.size() + outgoing_.size();
    }

    static constexpr std::size_t kOutgoingMax = 1024; // datagrams that wait for room, at most kRequestSizeMax each
    static constexpr std::size_t kPendingMax = 4096;  // replies that are waited for

  private:
    using Fulfiller = kj::Own<kj::PromiseFulfiller<Answer>>;
    struct Outgoing {
        protocol::RequestType type;
        std::vector<std::byte> bytes;
        Fulfiller fulfiller;
    };
    struct Pending {
        protocol::RequestType type;
        Fulfiller fulfiller;
    };
    enum class Sent : std::uint8_t { Yes, Full, Refused };

    kj::Promise<Answer> enqueue(Outgoing outgoing);
    Sent send(Outgoing& outgoing);
    void send_waiting();
    kj::Promise<void> read_some();
    void dispatch(const protocol::Message& message, std::vector<Fd> descriptors);
    void taskFailed(kj::Exception&& exception) override;
    void settle(std::uint64_t sequence, protocol::RequestType type, Answer answer);

    int socket_;
    BrokerListener& listener_;
    kj::UnixEventPort::FdObserver observer_;
    std::uint64_t next_sequence_ = 1;
    std::deque<Outgoing> outgoing_;
    std::unordered_map<std::uint64_t, Pending> pending_;
    bool window_full_ = false;
    std::array<std::byte, protocol::kMessageSizeMax> buffer_{};
    kj::TaskSet tasks_; // last: its tasks use the rest
};

// The part of a reply that all have. Precondition: the message is a reply of any kind.
const protocol::Reply& reply_of(const protocol::Message& message);

} // namespace joblet::api
