// The broker's end of the boundary: requests in, replies and news out. Anything that is not exactly a request ends this API
// process; another one is started and begins anew.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string_view>
#include <vector>

#include "broker-root/broker/closer.h"
#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/supervisor.h"
#include "shared/datagram.h"
#include "shared/fd.h"
#include "shared/protocol_messages.h"

namespace joblet::broker {

// Why the broker has nothing more to do with an API process.
enum class Parting : std::uint8_t {
    Size, // these four: see protocol::DecodeError
    Version,
    Type,
    Field,
    Descriptors, // any with a datagram; they are not received
    Truncated,   // a datagram that is too long
    Sequence,    // a request twice, or one left out
    Unread,      // it does not read what it is told
    Closed,      // it hung up, which an empty datagram looks like
};
// As it is on record: "descriptor_kind".
std::string_view parting_word(Parting parting);

class ApiLink {
  public:
    struct Callbacks {
        std::function<void(const protocol::Request&)> request;
        std::function<void(Parting)> gone; // every connection of that API is to be closed
        std::function<void()> ready;       // there is an API, and room to tell it something
    };

    ApiLink(EventLoop& loop, Supervisor& supervisor, Closer& closer, Callbacks callbacks);

    void adopt(Fd socket);

    // Which API process this is: a reply goes only to the one that asked.
    [[nodiscard]] std::uint64_t session() const {
        return session_;
    }
    // False: there is no API, or its window is full; new clients have to wait.
    [[nodiscard]] bool has_room() const;
    // A request is answered by exactly one reply, whatever happens; until then it counts against the window.
    template <class Message> void reply(std::uint64_t session, const Message& message, std::vector<Fd> descriptors = {}) {
        if (session == session_ && socket_.valid()) {
            --unanswered_;
            send(message, std::move(descriptors));
            update_watch();
        }
    }
    // News, for whoever is there.
    template <class Message> void send(const Message& message, std::vector<Fd> descriptors = {}) {
        if (socket_.valid()) {
            const auto bytes = std::as_bytes(std::span(&message, 1));
            enqueue({bytes.begin(), bytes.end()}, std::move(descriptors));
        }
    }

  private:
    struct Outgoing {
        std::vector<std::byte> bytes;
        std::vector<Fd> descriptors;
    };

    void enqueue(std::vector<std::byte> bytes, std::vector<Fd> descriptors);
    void flush();
    void receive();
    // Ends this API process, and another one is started.
    void reject(Parting offence);
    // It has hung up. Whoever has died is replaced by jobletd of itself; whoever has not is ended after a while.
    void lose();
    void part(Parting parting);
    void update_watch();

    EventLoop& loop_;
    Supervisor& supervisor_;
    Closer& closer_;
    Callbacks callbacks_;
    Fd socket_;
    EventLoop::Watch watch_ = 0;
    std::uint32_t watched_events_ = 0;
    std::uint64_t session_ = 0;
    std::uint64_t expected_sequence_ = 1;
    std::size_t unanswered_ = 0;
    std::deque<Outgoing> outgoing_;
};

} // namespace joblet::broker
