// A client's messages, held to what one client may cost: it is not read while it does not read, and it cannot leave
// behind more than it takes back.
#pragma once

#include <cstddef>

#include <capnp/rpc-twoparty.h>
#include <capnp/serialize-async.h>
#include <kj/timer.h>

namespace joblet::api {

class ClientStream final : public capnp::MessageStream {
  public:
    struct Bounds {
        std::size_t unread_bytes = 0; // answers in memory beyond which requests are not read
        kj::Duration unread_time;     // after which a client that takes nothing is given up
        std::size_t open_answers = 0; // calls without a Finish; the RPC system remembers each
    };

    ClientStream(kj::AsyncCapabilityStream& stream, kj::Timer& timer, Bounds bounds)
        : inner_(stream), timer_(timer), bounds_(bounds), tasks_(errors_) {}

    // The network that sends through this stream: its queue is what is bounded. Before the first message.
    void watch(capnp::TwoPartyVatNetwork& network) {
        network_ = &network;
    }

    kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> tryReadMessage(kj::ArrayPtr<kj::AutoCloseFd> fds, capnp::ReaderOptions options,
                                                                      kj::ArrayPtr<capnp::word> scratch) override;
    kj::Promise<void> writeMessage(kj::ArrayPtr<const int> fds, kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) override;
    kj::Promise<void> writeMessages(kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) override;
    kj::Maybe<int> getSendBufferSize() override {
        return inner_.getSendBufferSize();
    }
    kj::Promise<void> end() override {
        return inner_.end();
    }

  private:
    struct Errors final : kj::TaskSet::ErrorHandler {
        void taskFailed(kj::Exception&& exception) override;
    };

    kj::Promise<void> room();
    kj::Promise<void> in_time(kj::Promise<void> write);
    void count(capnp::MessageReader& message);

    capnp::AsyncCapabilityMessageStream inner_;
    kj::Timer& timer_;
    Bounds bounds_;
    capnp::TwoPartyVatNetwork* network_ = nullptr;
    std::size_t open_answers_ = 0;
    kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> waiting_for_room_;
    Errors errors_;
    kj::TaskSet tasks_; // last: its tasks use the rest
};

} // namespace joblet::api
