// What attacks are about: users who are connected, their volumes and jobs, and a victim who is not connected any more.
#pragma once

#include <csignal>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "shared/job_spec.h"
#include "tests/boundary/attacker/attack.h"

namespace joblet::testing {

using protocol::Access;
using protocol::Authority;
using protocol::Backend;
using protocol::VolumeType;

// JOBLET_TEST_SEED, or one of its own; printed, so that a failure can be had again.
std::uint64_t test_seed();
// JOBLET_TEST_LONG=1: `lengthy`, otherwise `brief`.
std::size_t steps_of(std::size_t brief, std::size_t lengthy);

protocol::CreateVolume volume_request(const std::string& name, VolumeType type, std::uint64_t bytes = std::uint64_t{1} << 20U);
protocol::StartJob job_request(const std::vector<VolumeId>& volumes = {}, std::uint32_t flags = protocol::kStartDetached);
protocol::DeleteVolume removal_of(const VolumeId& id, std::uint32_t flags = protocol::kDeleteNow | protocol::kDeleteForce);
protocol::SignalJob kill_of(const JobId& id);

// In place of a channel's number, until there is one: of nothing.
inline constexpr std::uint64_t kNoChannel = ~std::uint64_t{0};

// What a job is started with, whose command is in it already.
struct JobInput {
    std::uint64_t channel = kNoChannel;
    Fd peer; // the user's end of its control socket
};

struct Scene {
    // Makes the victim's volume, with something in it, through the boundary; then the victim hangs up.
    explicit Scene(Attack& on);

    // Connects whoever is not connected (a new API knows nobody), and makes what is not there any more.
    void restore();
    // Of jobs only `job` runs on.
    void end_other_jobs();
    // Ends and removes what is not of the scene; back to where nothing but it is.
    void tidy();
    // The victim's volume is as it was, to the byte.
    void check_victim() const;
    // A new volume; throws if it cannot be had.
    VolumeId make_volume(Connection connection, VolumeType type) const;
    // A channel for a job that will run this, kept in `inputs`; of nothing if the connection cannot have one.
    JobInput& open_input(Connection connection, const std::vector<std::string>& arguments = {"sleep", "1000"});
    // A StartJob without a channel gets one.
    void provide(protocol::Request& request);
    template <class R> R provided(Connection connection, R request, const std::vector<std::string>& arguments = {"sleep", "1000"}) {
        request.header.connection = connection;
        request.channel = open_input(connection, arguments).channel;
        return request;
    }
    JobId start_job(Connection connection, const std::vector<VolumeId>& volumes, std::uint32_t flags = protocol::kStartDetached);

    Attack& attack;
    Connection alice = 0;
    Connection bob = 0;
    Connection admin = 0;
    Connection gone = 0;   // was the victim's
    Connection forged = 0; // of nobody, ever
    VolumeId memory;       // alice's, and free
    VolumeId disk;         // likewise
    VolumeId held;         // alice's, and in `job`
    JobId job;             // alice's, and running
    VolumeId of_bob;
    VolumeId of_victim;
    std::deque<JobInput> inputs; // of jobs that run

  private:
    [[nodiscard]] bool has(const VolumeId& id) const;
    std::string victim_before_;
};

} // namespace joblet::testing
