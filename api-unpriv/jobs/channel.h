// What one job will be started with, as the broker made it: the user's end of its control socket, and memory for its command line.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "shared/fd.h"

namespace joblet::api {

// Numbers of a connection's channels that no job was started with and nobody needs: each makes room for a new one.
using UnusedChannels = std::shared_ptr<std::vector<std::uint64_t>>;

class Channel {
  public:
    Channel(std::uint64_t number, Fd users_end, Fd memory, UnusedChannels unused)
        : number_(number), users_end_(std::move(users_end)), memory_(std::move(memory)), unused_(std::move(unused)) {}
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    Channel(Channel&&) = delete;
    Channel& operator=(Channel&&) = delete;
    ~Channel() {
        if (!is_used_) {
            unused_->push_back(number_);
        }
    }

    [[nodiscard]] int users_end() const {
        return users_end_.get();
    }
    // For write_spec_memory(), until it is used.
    [[nodiscard]] int memory() const {
        return memory_.get();
    }
    // What StartJob calls it. It is the job's from now on, or nobody's.
    std::uint64_t use() {
        is_used_ = true;
        memory_.reset();
        return number_;
    }
    // The broker may not have been told.
    void put_back() {
        is_used_ = false;
    }

  private:
    std::uint64_t number_;
    Fd users_end_;
    Fd memory_;
    UnusedChannels unused_;
    bool is_used_ = false;
};

} // namespace joblet::api
