// The root file systems that this host has for jobs, as the broker names them.
#pragma once

#include <string>
#include <vector>

#include <kj/async.h>
#include <kj/timer.h>

#include "api-unpriv/broker_client.h"
#include "api-unpriv/errors.h"

namespace joblet::api {

struct Base {
    std::string name;
    protocol::ProcKind proc{};
    bool usable = false;
};

class Bases {
  public:
    explicit Bases(BrokerClient& broker) : broker_(broker) {}

    // At start. A broker that does not name any is no reason not to serve.
    kj::Promise<void> load(kj::Timer& timer);
    // Asks again.
    kj::Promise<Outcome<std::vector<Base>>> list();
    // Names of those that jobs can have, as of the last answer: for those who asked for another one.
    [[nodiscard]] std::vector<std::string> usable() const;

  private:
    kj::Promise<ErrorCode> ask();

    BrokerClient& broker_;
    std::vector<Base> known_; // by name
};

} // namespace joblet::api
