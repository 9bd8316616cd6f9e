// A connection to the API daemon.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <kj/async-unix.h>

#include "cli/failure.h"
#include "cli/progress.h"
#include "schema/joblet.capnp.h"
#include "shared/fd.h"

namespace joblet::cli {

// What may help after that, and what may be behind it.
inline constexpr std::string_view kLostHint = "try again; if that does not help, you may have too many connections open, or broker.toml, "
                                              "section [socket], does not allow you to connect";

// A connection to that socket; waits a few seconds at most. Throws CommandFailure as the Client does.
Fd connect_to(const std::string& path);

// The daemon went away before it answered: what was asked may or may not be done.
class ConnectionLost : public CommandFailure {
  public:
    using CommandFailure::CommandFailure;
};

class Client {
  public:
    // Throws CommandFailure, with what to do about it, if nobody listens there or the caller may not connect.
    explicit Client(const std::string& socket);

    rpc::Joblet::Client joblet() {
        return joblet_;
    }
    rpc::VolumeService::Client volumes();
    rpc::JobService::Client jobs();
    rpc::HostService::Client host();

    // The answer to a call. Throws ConnectionLost, or CommandFailure if the daemon does not react at all or does not speak our
    // language. How long the work itself takes is not bounded here: making a large volume on a slow disk takes its time.
    // `what` is going on meanwhile: shown after a while, unless empty.
    template <class Answer> auto wait(Answer&& answer, std::string what = {}) {
        Progress progress(std::move(what));
        const auto ticking = tick(progress, std::chrono::seconds(0)).eagerlyEvaluate(nullptr);
        return understood([&] {
            timer().timeoutAfter(kReactionTime, joblet_.whenResolved()).wait(io_.waitScope);
            return answer.wait(io_.waitScope);
        });
    }
    // Open as long as the capability lives.
    int descriptor_of(rpc::Descriptor::Client capability);
    // The answer, unless it has not come within `grace` of the moment when `fd` could be read; nothing is read from that.
    template <class Results>
    std::optional<capnp::Response<Results>> wait_unless_readable(int fd, kj::Duration grace, capnp::RemotePromise<Results>&& answer) {
        bool given_up = false;
        kj::UnixEventPort::FdObserver observer(io_.unixEventPort, fd, kj::UnixEventPort::FdObserver::OBSERVE_READ);
        auto giving_up = observer.whenBecomesReadable()
                             .then([this, grace] { return timer().afterDelay(grace); })
                             .then([&given_up]() -> kj::Promise<capnp::Response<Results>> {
                                 given_up = true;
                                 return KJ_EXCEPTION(FAILED, "nobody waits any more");
                             });
        kj::Promise<capnp::Response<Results>>& response = answer;
        auto first = response.exclusiveJoin(kj::mv(giving_up));
        try {
            timer().timeoutAfter(kReactionTime, joblet_.whenResolved()).wait(io_.waitScope);
            return first.wait(io_.waitScope);
        } catch (const kj::Exception& problem) {
            if (given_up) {
                return std::nullopt;
            }
            rethrow(problem);
        }
    }
    // Whether it has come after that time, which is waited in any case.
    template <class Answer> bool has_come_after(kj::Duration time, Answer& answer) {
        return understood([&] {
            timer().afterDelay(time).wait(io_.waitScope);
            return answer.poll(io_.waitScope);
        });
    }
    // The same for an answer that takes no longer than that.
    template <class Answer> auto wait_at_most(kj::Duration time, Answer&& answer) {
        auto bounded = timer().timeoutAfter(time, kj::mv(answer));
        return understood([&] { return bounded.wait(io_.waitScope); });
    }

  private:
    template <class Function> static auto understood(Function&& function) {
        try {
            return function();
        } catch (const kj::Exception& problem) {
            rethrow(problem);
        }
    }
    static constexpr auto kReactionTime = 10 * kj::SECONDS;

    kj::Timer& timer() {
        return io_.provider->getTimer();
    }
    kj::Promise<void> tick(Progress& progress, std::chrono::seconds elapsed);
    [[noreturn]] static void rethrow(const kj::Exception& problem);

    kj::AsyncIoContext io_;
    kj::Own<kj::AsyncCapabilityStream> stream_;
    capnp::TwoPartyClient rpc_;
    rpc::Joblet::Client joblet_;
};

// Refusals are data in this interface: gives the value, or throws the error as CommandFailure.
Error error_of(rpc::Error::Reader error);
template <class ResultReader> auto value_of(ResultReader result) {
    if (result.isError()) {
        throw CommandFailure(error_of(result.getError()));
    }
    return result.getValue();
}

inline std::string text_of(capnp::Text::Reader text) {
    return {text.cStr(), text.size()};
}

} // namespace joblet::cli
