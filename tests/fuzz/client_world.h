// joblet-api whole, but for its main: one event loop, no thread that matters, and a broker that answers when it is asked to. Nothing
// that a client does changes it, so that an input does the same whatever came before.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <kj/async-io.h>

#include "api-unpriv/daemon.h"
#include "shared/datagram.h"

namespace joblet::fuzz {

inline constexpr std::uint32_t kAlice = 1000; // who connects
inline constexpr std::uint32_t kBob = 1001;

// How one client's requests are answered.
struct Broker {
    ErrorCode verdict = ErrorCode::Unavailable; // of what would change anything; never Ok
    bool is_admin = false;                      // the client
};

class ClientWorld {
  public:
    ClientWorld();

    // A client's whole life: connected, what it sends, and its end. True when nothing of it is left. Each part goes out by itself, the
    // first `descriptors` of them with one descriptor each.
    bool serve(const std::vector<std::string>& parts, std::size_t descriptors, const Broker& broker);

  private:
    void turn();
    bool answer_one();
    void answer(const protocol::Request& request);
    template <class M> void reply(M message, const protocol::RequestHeader& header, std::span<const int> descriptors = {});
    void check_asked(const protocol::Request& request) const;

    api::ApiConfig config_;
    std::pair<Fd, Fd> pair_;
    kj::AsyncIoContext io_;
    api::StoreWriter store_;
    std::optional<api::Daemon> daemon_;
    kj::Promise<void> running_ = nullptr;
    bool is_running_ = true;

    Broker broker_;
    protocol::ConnectionNumber connection_ = 0;
    std::uint64_t sequence_ = 0;
    bool is_closed_ = false;
};

} // namespace joblet::fuzz
