// The whole daemon but its main, on one event loop with its clients; the broker is a thread with a table.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>

#include "api-unpriv/daemon.h"
#include "schema/joblet.capnp.h"
#include "shared/datagram.h"
#include "tests/unit/fake_broker.h"

namespace joblet::api::test {

inline constexpr std::uint32_t kAlice = 1000;
inline constexpr std::uint32_t kBob = 1001;

class World {
  public:
    explicit World(const std::function<void(FakeBroker&)>& before = {}, ApiConfig configuration = {},
                   const std::function<std::vector<Job>()>& remembered = {})
        : config(configuration), pair(make_seqpacket_pair()), broker(std::move(pair.second)), io(kj::setupAsyncIo()),
          store(std::nullopt, {}) {
        if (before) {
            before(broker);
        }
        daemon.emplace(io, pair.first.get(), store, config, Landlock::On);
        running = daemon->run({}, remembered ? remembered() : std::vector<Job>()).eagerlyEvaluate(nullptr);
    }

    void turn(int milliseconds) {
        io.provider->getTimer().afterDelay(milliseconds * kj::MILLISECONDS).wait(io.waitScope);
    }
    // A job that the daemon knows of.
    JobId add_job(std::uint32_t owner, const std::vector<VolumeId>& volumes) {
        const JobId id = broker.add_job(owner, volumes);
        turn(20);
        return id;
    }
    template <class Condition> bool eventually(const Condition& condition) {
        for (int i = 0; i < 500; ++i) {
            if (condition()) {
                return true;
            }
            turn(10);
        }
        return false;
    }

    ApiConfig config;
    std::pair<Fd, Fd> pair;
    FakeBroker broker;
    kj::AsyncIoContext io;
    StoreWriter store;
    std::optional<Daemon> daemon;
    kj::Promise<void> running = nullptr;
};

class Client {
  public:
    Client(World& world, std::uint32_t uid, bool admin = false)
        : world_(world), stream_(world.io.lowLevelProvider->wrapUnixSocketFd(kj::AutoCloseFd(world.broker.connect(uid, admin).release()),
                                                                             kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC)),
          rpc_(*stream_, 8), joblet(rpc_.bootstrap().castAs<rpc::Joblet>()), volumes(joblet.volumesRequest().send().getService()),
          jobs(joblet.jobsRequest().send().getService()), host(joblet.hostRequest().send().getService()) {}

    template <class Answer> auto wait(Answer&& answer) {
        return world_.io.provider->getTimer().timeoutAfter(10 * kj::SECONDS, kj::mv(answer)).wait(world_.io.waitScope);
    }
    // Of a capability that came with one.
    int descriptor_of(rpc::Descriptor::Client capability) {
        const auto fd = wait(capability.getFd());
        KJ_IF_MAYBE (number, fd) {
            return *number;
        }
        return -1;
    }
    auto create(const char* name, std::uint64_t size) {
        auto request = volumes.createVolumeRequest();
        request.setName(name);
        request.setSizeBytes(size);
        return wait(request.send());
    }
    auto get(const std::string& name, bool everybody = false) {
        auto request = volumes.getVolumeRequest();
        request.getSelector().setVolume(name);
        if (everybody) {
            request.getSelector().initScope().setEverybody();
        }
        return wait(request.send());
    }

  private:
    World& world_;
    kj::Own<kj::AsyncCapabilityStream> stream_;
    capnp::TwoPartyClient rpc_;

  public:
    rpc::Joblet::Client joblet;
    rpc::VolumeService::Client volumes;
    rpc::JobService::Client jobs;
    rpc::HostService::Client host;
};

class OtherControl final : public rpc::ControlSocket::Server {};

inline std::string text(capnp::Text::Reader from) {
    return {from.begin(), from.size()};
}
inline std::string field(rpc::Error::Reader error, std::string_view name) {
    for (const auto one : error.getFields()) {
        if (text(one.getName()) == name) {
            return text(one.getValue());
        }
    }
    return {};
}

inline constexpr std::uint64_t kMebibyte = 1 << 20U;

} // namespace joblet::api::test
