// What one connection's next jobs will be started with: for each a control socket and memory for its command line. Both are made
// here, so that the API sends no descriptor. They end with the connection, or with the job.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "broker-root/broker/closer.h"
#include "broker-root/broker/descriptor_budget.h"
#include "broker-root/broker/news.h"
#include "shared/fd.h"
#include "shared/protocol_messages.h"

namespace joblet::broker {

struct Channel {
    ClientEnd control; // the job's end
    Fd spec;           // see shared/job_spec.h
    DescriptorBudget::Share share;
};

class Channels {
  public:
    Channels(Closer& closer, DescriptorBudget& budget) : closer_(&closer), budget_(&budget) {}

    // With what the API is given: ChannelDescriptor. `number`: of nothing that is there. Refused beyond kChannelsMax, and while the closer
    // has too much to do or clients have all descriptors that they may have.
    ReplyWithFiles make(std::uint64_t number, std::uint64_t replaces);
    // Once; nothing if there is none of that number.
    std::optional<Channel> take(std::uint64_t number);

  private:
    Closer* closer_;
    DescriptorBudget* budget_;
    std::map<std::uint64_t, Channel> channels_;
};

} // namespace joblet::broker
