// One client's connection: its RPC system, and what it may have under way at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include <capnp/capability.h>
#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <kj/refcount.h>
#include <schema/joblet.capnp.h>

#include "api-unpriv/caller.h"
#include "api-unpriv/config.h"
#include "api-unpriv/host/doctor.h"
#include "api-unpriv/jobs/manager.h"
#include "api-unpriv/rpc/client_socket.h"
#include "api-unpriv/rpc/client_stream.h"
#include "api-unpriv/volumes/manager.h"
#include "shared/fd.h"
#include "shared/protocol_messages.h"

namespace joblet::api {

struct Managers {
    VolumeManager& volumes;
    JobManager& jobs;
    Bases& bases;
    Doctor& doctor;
};

// Shared by the services of one connection.
class SessionContext final : public kj::Refcounted {
  public:
    SessionContext(const protocol::Connection& connection, Managers what, const ApiConfig& configuration)
        : caller{connection.uid, connection.admin != 0, connection.number}, managers(what), config(configuration),
          refusal(refusal_from(connection)) {}

    const Caller caller;
    const Managers managers;
    const ApiConfig& config;
    const std::optional<Refusal> refusal; // the answer to each call: the broker serves nobody on this connection

    std::uint64_t calls = 0;
    std::uint64_t waits = 0;
    std::uint64_t logs = 0;
    std::uint64_t controls = 0;
    capnp::CapabilityServerSet<rpc::ControlSocket> given_controls; // of type GivenControl
    const UnusedChannels unused_channels = std::make_shared<UnusedChannels::element_type>();
};

// A call that is under way; gone with it.
class Ticket {
  public:
    enum class Kind : std::uint8_t { Call, Wait };
    // A refusal if the connection has too many of them.
    static Outcome<Ticket> take(SessionContext& session, Kind kind);

    Ticket(Ticket&&) = default;
    Ticket& operator=(Ticket&&) = delete;
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    ~Ticket() noexcept;

  private:
    Ticket(kj::Own<SessionContext> session, Kind kind) : session_(kj::mv(session)), kind_(kind) {}

    kj::Own<SessionContext> session_; // null when moved from
    Kind kind_;
};

// A log that a client has been given, or will be: as long as he does not let go of it, its descriptors are open here, too.
class HeldLog final : public kj::Refcounted {
  public:
    // A refusal if the connection has too many of them.
    static Outcome<kj::Own<HeldLog>> take(SessionContext& session);

    explicit HeldLog(kj::Own<SessionContext> session) : session_(kj::mv(session)) {
        ++session_->logs;
    }
    ~HeldLog() noexcept(false) override {
        --session_->logs;
    }

  private:
    kj::Own<SessionContext> session_;
};

// A control socket that a client has been given, or will be: as long as he holds what stands for either end.
class HeldControl final : public kj::Refcounted {
  public:
    // A refusal if the connection has too many of them, or the broker has none.
    static kj::Promise<Outcome<kj::Own<HeldControl>>> open(SessionContext& session);

    explicit HeldControl(kj::Own<SessionContext> session);
    ~HeldControl() noexcept(false) override;
    HeldControl(const HeldControl&) = delete;
    HeldControl& operator=(const HeldControl&) = delete;

    std::shared_ptr<Channel> channel;

  private:
    kj::Own<SessionContext> session_;
};

// What stands for the job's end.
class GivenControl final : public rpc::ControlSocket::Server {
  public:
    explicit GivenControl(kj::Own<HeldControl> held) : held_(kj::mv(held)), channel_(held_->channel) {}
    // Once; nothing afterwards.
    std::shared_ptr<Channel> take() {
        return std::move(channel_);
    }

  private:
    kj::Own<HeldControl> held_;
    std::shared_ptr<Channel> channel_;
};

class Session {
  public:
    // Serves the connection until the client goes, or goes too far; never rejects. A connection of the broker's that is refused gets the
    // refusal as the answer to each of its calls.
    static kj::Promise<void> serve(kj::AsyncIoContext& io, Fd socket, const protocol::Connection& connection, Managers managers,
                                   const ApiConfig& config);

    Session(kj::AsyncIoContext& io, Fd socket, const protocol::Connection& connection, Managers managers, const ApiConfig& config);

  private:
    ClientSocket socket_;
    ClientStream stream_;
    capnp::TwoPartyVatNetwork network_;
    capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
};

} // namespace joblet::api
