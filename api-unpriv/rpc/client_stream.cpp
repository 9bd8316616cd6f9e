#include "api-unpriv/rpc/client_stream.h"

#include <capnp/rpc.capnp.h>
#include <kj/debug.h>

#include "shared/log.h"

namespace joblet::api {

namespace {

constexpr unsigned kCapabilitiesPerCall = 4; // the most that a call of this interface takes is one

// Ends this connection.
[[noreturn]] void refuse_client(const char* why) {
    kj::throwFatalException(KJ_EXCEPTION(FAILED, why));
}

// A client gives no more capabilities than a call takes. The RPC system keeps something for each, and answers each when it lets go
// of it.
void check_given(capnp::MessageReader& message) {
    const auto root = message.getRoot<capnp::rpc::Message>();
    if (root.isCall() && root.getCall().getParams().getCapTable().size() > kCapabilitiesPerCall) {
        refuse_client("the client gives more capabilities than any call takes");
    }
}

} // namespace

void ClientStream::Errors::taskFailed(kj::Exception&& exception) {
    log::warning(exception.getDescription().cStr());
}

kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>>
ClientStream::tryReadMessage(kj::ArrayPtr<kj::AutoCloseFd> fds, capnp::ReaderOptions options, kj::ArrayPtr<capnp::word> scratch) {
    return room().then([this, fds, options, scratch]() {
        return inner_.tryReadMessage(fds, options, scratch).then([this](kj::Maybe<capnp::MessageReaderAndFds>&& message) {
            KJ_IF_MAYBE (there, message) {
                check_given(*there->reader);
                count(*there->reader);
            }
            return kj::mv(message);
        });
    });
}

kj::Promise<void> ClientStream::room() {
    if (network_->getCurrentQueueSize() <= bounds_.unread_bytes) {
        return kj::READY_NOW;
    }
    auto paf = kj::newPromiseAndFulfiller<void>();
    waiting_for_room_ = kj::mv(paf.fulfiller);
    return kj::mv(paf.promise);
}

// Each call and each bootstrap leaves an answer in the RPC system's table until the client says Finish. Messages of the
// levels that are not spoken here have no business on this connection.
void ClientStream::count(capnp::MessageReader& message) {
    switch (message.getRoot<capnp::rpc::Message>().which()) {
    case capnp::rpc::Message::CALL:
    case capnp::rpc::Message::BOOTSTRAP:
        ++open_answers_;
        if (open_answers_ > bounds_.open_answers) {
            refuse_client("the client leaves too many answers open");
        }
        break;
    case capnp::rpc::Message::FINISH:
        if (open_answers_ == 0) {
            refuse_client("the client finishes what it did not ask");
        }
        --open_answers_;
        break;
    case capnp::rpc::Message::RETURN:
    case capnp::rpc::Message::RESOLVE:
    case capnp::rpc::Message::RELEASE:
    case capnp::rpc::Message::DISEMBARGO:
    case capnp::rpc::Message::ABORT:
    case capnp::rpc::Message::UNIMPLEMENTED:
        break;
    default:
        refuse_client("the client sends a message of a kind that is not spoken here");
    }
}

kj::Promise<void> ClientStream::in_time(kj::Promise<void> write) {
    auto late = timer_.afterDelay(bounds_.unread_time).then([]() -> kj::Promise<void> {
        return KJ_EXCEPTION(DISCONNECTED, "the client does not read its answers");
    });
    return write.exclusiveJoin(kj::mv(late)).then([this]() {
        if (waiting_for_room_ != nullptr) {
            // The network takes the message off its queue after this promise
            tasks_.add(kj::evalLast([this]() {
                if (network_->getCurrentQueueSize() > bounds_.unread_bytes) {
                    return;
                }
                KJ_IF_MAYBE (fulfiller, waiting_for_room_) {
                    (*fulfiller)->fulfill();
                }
                waiting_for_room_ = nullptr;
            }));
        }
    });
}

kj::Promise<void> ClientStream::writeMessage(kj::ArrayPtr<const int> fds, kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) {
    return in_time(inner_.writeMessage(fds, segments));
}

kj::Promise<void> ClientStream::writeMessages(kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) {
    return in_time(inner_.writeMessages(messages));
}

} // namespace joblet::api
