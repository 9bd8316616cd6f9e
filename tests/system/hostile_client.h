// Clients that keep to no rule: raw bytes and descriptors on the daemon's socket, as any user; and what must not change meanwhile.
#pragma once

#include <cstddef>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <capnp/message.h>
#include <capnp/rpc.capnp.h>

#include "schema/joblet.capnp.h"
#include "shared/fd.h"
#include "tests/system/installation.h"

namespace joblet::testing {

inline constexpr uid_t kMallory = 20003; // the user who attacks

using Bytes = std::vector<std::byte>;

class HostileClient {
  public:
    // Throws if the socket does not take the connection within some seconds.
    explicit HostileClient(const Installation& here, uid_t uid = kMallory, std::chrono::seconds limit = seconds(30));

    // All of it, or as much as the daemon takes within `limit`; the bytes that went.
    std::size_t send(std::span<const std::byte> bytes, milliseconds limit = seconds(5)) const;
    // In one message, as kMallory; true if it went.
    [[nodiscard]] bool send_with(std::span<const std::byte> bytes, std::span<const int> descriptors) const;
    // Nothing more will be sent.
    void finish() const;
    // Whether the daemon has ended the connection, in time. What it answers is read and counted.
    [[nodiscard]] bool is_ended(milliseconds limit = seconds(20));
    // Bytes that were answered, as far as they have been read.
    std::size_t take(milliseconds wait);
    [[nodiscard]] int socket() const {
        return socket_.get();
    }

  private:
    Fd socket_;
    std::size_t answered_ = 0;
};

// A message as it goes over the socket.
Bytes framed(capnp::MessageBuilder& message);
Bytes message_of(const std::function<void(capnp::rpc::Message::Builder)>& fill);

// Level 1 of Cap'n Proto's RPC, by hand. Question 0 is the bootstrap, 1 the volumes, 2 the jobs.
inline constexpr std::uint32_t kBootstrapQuestion = 0;
inline constexpr std::uint32_t kVolumesQuestion = 1;
inline constexpr std::uint32_t kJobsQuestion = 2;
inline constexpr std::uint32_t kFirstFreeQuestion = 3;
// bootstrap, volumes() and jobs(): what every later call stands on.
Bytes opening();
// A call to what question `service` gave.
Bytes call(std::uint32_t question, std::uint32_t service, std::uint64_t interface, std::uint16_t method,
           const std::function<void(capnp::rpc::Payload::Builder)>& fill);
Bytes finish(std::uint32_t question);

inline constexpr std::uint16_t kListVolumes = 1; // methods, as numbered in joblet.capnp
inline constexpr std::uint16_t kRun = 0;
Bytes list_volumes(std::uint32_t question);

// A call of run() of a short command, whose control socket is the first of these capabilities.
Bytes run_with_control(std::uint32_t question, const std::function<void(capnp::rpc::CapDescriptor::Builder)>& capability);

Bytes operator+(Bytes left, const Bytes& right);

// Random, but the same for the same seed. The seed is JOBLET_TEST_SEED of the environment or drawn, and printed.
std::mt19937_64 random_source(const char* test);
// Whether there is time: tests that repeat themselves do so more often (JOBLET_TEST_LONG=1).
bool is_long();

// joblet-api as it was before an attack. Its memory is measured from here on.
class ApiWatch {
  public:
    explicit ApiWatch(const Installation& here);
    // The same process, no more than so many MiB above what it had, at any time since; and when those who attacked are gone, no
    // descriptor more than before. Prints what was measured.
    void check_unharmed(const char* attack, std::size_t mebibytes) const;
    [[nodiscard]] std::size_t descriptors() const;
    // In sealed memory files that it, or the broker, holds.
    [[nodiscard]] std::size_t memory_files() const;

  private:
    const Installation& here_;
    pid_t pid_;
    std::size_t descriptors_;
    std::size_t resident_kib_;
};

// Somebody else's `rnx volume list` is answered, and right. Precondition: kAlice has the volume "hers" and no other.
bool others_are_served(const Installation& here);

} // namespace joblet::testing
