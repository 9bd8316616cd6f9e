#include "api-unpriv/rpc/session.h"

#include <kj/debug.h>

#include "api-unpriv/rpc/joblet_service.h"
#include "shared/log.h"

namespace joblet::api {

namespace {

constexpr unsigned kDescriptorsPerMessage = 2; // that are sent, as the schema says; ClientSocket takes none
constexpr int kNestingLimit = 64;
constexpr std::uint64_t kLogsPerConnection = 16;     // as the schema says
constexpr std::uint64_t kControlsPerConnection = 16; // likewise
constexpr std::size_t kOpenAnswersFactor = 8;        // calls may be over before their Finish arrives

capnp::ReaderOptions reader_options(const ApiConfig& config) {
    capnp::ReaderOptions options;
    options.traversalLimitInWords = config.max_message_bytes / sizeof(capnp::word); // also the largest message that is read
    options.nestingLimit = kNestingLimit;
    return options;
}

ClientStream::Bounds bounds(const ApiConfig& config) {
    return {config.max_unread_bytes, static_cast<std::int64_t>(config.unread_seconds) * kj::SECONDS,
            kOpenAnswersFactor * config.calls_per_connection};
}

} // namespace

Outcome<Ticket> Ticket::take(SessionContext& session, Kind kind) {
    if (session.refusal) {
        return std::unexpected(*session.refusal);
    }
    if (session.calls >= session.config.calls_per_connection) {
        return std::unexpected(too_many("rpc.calls_per_connection", session.config.calls_per_connection, "calls on this connection"));
    }
    if (kind == Kind::Wait && session.waits >= session.config.waits_per_connection) {
        return std::unexpected(too_many("rpc.waits_per_connection", session.config.waits_per_connection, "waits on this connection"));
    }
    ++session.calls;
    session.waits += kind == Kind::Wait ? 1 : 0;
    return Ticket(kj::addRef(session), kind);
}

Ticket::~Ticket() noexcept {
    if (session_.get() != nullptr) {
        --session_->calls;
        session_->waits -= kind_ == Kind::Wait ? 1 : 0;
    }
}

Outcome<kj::Own<HeldLog>> HeldLog::take(SessionContext& session) {
    if (session.logs >= kLogsPerConnection) {
        return std::unexpected(too_many("logs_per_connection", kLogsPerConnection, "logs on this connection"));
    }
    return kj::refcounted<HeldLog>(kj::addRef(session));
}

kj::Promise<Outcome<kj::Own<HeldControl>>> HeldControl::open(SessionContext& session) {
    if (session.controls >= kControlsPerConnection) {
        return Outcome<kj::Own<HeldControl>>(
            std::unexpected(too_many("controls_per_connection", kControlsPerConnection, "control sockets on this connection")));
    }
    auto held = kj::refcounted<HeldControl>(kj::addRef(session));
    return session.managers.jobs.open_channel(session.caller, session.unused_channels)
        .then([held = kj::mv(held)](Outcome<std::shared_ptr<Channel>> opened) mutable -> Outcome<kj::Own<HeldControl>> {
            if (!opened) {
                return std::unexpected(opened.error());
            }
            held->channel = std::move(*opened);
            return kj::mv(held);
        });
}

HeldControl::HeldControl(kj::Own<SessionContext> session) : session_(kj::mv(session)) {
    ++session_->controls;
}

HeldControl::~HeldControl() noexcept(false) {
    --session_->controls;
}

Session::Session(kj::AsyncIoContext& io, Fd socket, const protocol::Connection& connection, Managers managers, const ApiConfig& config)
    : socket_(io, std::move(socket)), stream_(socket_, io.provider->getTimer(), bounds(config)),
      network_(stream_, kDescriptorsPerMessage, capnp::rpc::twoparty::Side::SERVER, reader_options(config)),
      rpc_(capnp::makeRpcServer(network_, make_joblet_service(kj::refcounted<SessionContext>(connection, managers, config)))) {
    stream_.watch(network_);
    rpc_.setFlowLimit(2 * config.max_message_bytes / sizeof(capnp::word));
}

kj::Promise<void> Session::serve(kj::AsyncIoContext& io, Fd socket, const protocol::Connection& connection, Managers managers,
                                 const ApiConfig& config) {
    return kj::evalNow([&]() {
               auto session = kj::heap<Session>(io, kj::mv(socket), connection, managers, config);
               auto gone = session->network_.onDisconnect();
               return gone.attach(kj::mv(session));
           })
        .catch_([](kj::Exception&& exception) {
            log::warning(std::string("a connection could not be served: ") + exception.getDescription().cStr());
        });
}

} // namespace joblet::api
