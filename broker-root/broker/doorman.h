// Accepts clients, asks the kernel who they are, numbers them, and hands them to the API. What a request says about its user
// is only this number: the uid is looked up here.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "broker-root/broker/api_link.h"
#include "broker-root/broker/channels.h"
#include "broker-root/broker/config.h"
#include "broker-root/broker/event_loop.h"
#include "shared/fd.h"
#include "shared/protocol_messages.h"

namespace joblet::broker {

struct Client {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint32_t pid = 0; // when it connected
    bool admin = false;
};

class Doorman {
  public:
    // `listener`: non-blocking, listening.
    Doorman(EventLoop& loop, const BrokerConfig& config, Fd listener, ApiLink& api, Closer& closer, DescriptorBudget& budget);

    // Accept only while there is somebody to hand clients to, and those who are gone are gone.
    void update();
    // nullptr: there never was such a connection, or the client has hung up, or the API has closed it, or it is refused.
    [[nodiscard]] const Client* find(protocol::ConnectionNumber number) const;
    // Likewise.
    [[nodiscard]] Channels* channels_of(protocol::ConnectionNumber number);
    // shutdown() and forget; unknown numbers are ignored (the client may have been quicker).
    void close(protocol::ConnectionNumber number);
    void close_all();

  private:
    struct Open {
        Client client;
        Fd duplicate; // only to see that the client hangs up, and to shut it down
        EventLoop::Watch watch;
        bool is_refused = false;
        Channels channels;
        DescriptorBudget::Share share;
    };

    [[nodiscard]] bool has_room() const {
        return api_.has_room() && !closer_.is_full() && !is_paused_ && budget_.has(1);
    }
    void accept();
    void pause(int error);
    // False: it is not, and still there.
    bool admit(Fd& socket);
    void tell_refusal(std::uint32_t uid, std::string_view why);
    [[nodiscard]] bool may_connect(const Client& client) const;
    [[nodiscard]] protocol::ConnectionRefusal refusal_of(const Client& client) const;

    EventLoop& loop_;
    const BrokerConfig& config_;
    Fd listener_;
    ApiLink& api_;
    Closer& closer_;
    DescriptorBudget& budget_;
    EventLoop::Watch watch_;
    bool accepting_ = false;
    bool is_paused_ = false;
    protocol::ConnectionNumber next_;
    std::unordered_map<protocol::ConnectionNumber, Open> open_;
    std::unordered_map<std::uint32_t, std::uint64_t> per_uid_; // connections that are served
    std::unordered_map<std::uint32_t, std::uint64_t> refused_; // and those that are only told why they are not
    EventLoop::Clock::time_point silent_until_;                // no refusal is written to the log before
    std::uint64_t not_told_ = 0;                               // refusals meanwhile
};

} // namespace joblet::broker
