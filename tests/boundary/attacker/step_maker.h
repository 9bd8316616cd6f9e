// One request of each row, about something that is there or not, in somebody's name or nobody's.
#pragma once

#include <random>
#include <vector>

#include "tests/boundary/attacker/scene.h"

namespace joblet::testing {

class StepMaker {
  public:
    StepMaker(Scene& scene, std::uint64_t seed) : scene_(scene), engine_(seed) {}

    // What a user who is connected would ask about his own things: the request of that row that is most likely to do something.
    protocol::Request plain(protocol::RequestType type);
    // Of any row, in any name, about anything.
    protocol::Request any();
    std::uint64_t below(std::uint64_t limit) {
        return engine_() % limit;
    }

  private:
    template <class T> const T& one_of(const std::vector<T>& list) {
        return list[below(list.size())];
    }
    VolumeId any_volume();
    JobId any_job();
    std::uint64_t any_channel();
    void vary(protocol::Request& request);

    Scene& scene_;
    std::mt19937_64 engine_;
};

} // namespace joblet::testing
