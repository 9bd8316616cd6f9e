// What jobletd and the broker say to each other over the broker's supervision socket.
#pragma once

#include <cstdint>

#include "shared/id.h"

namespace joblet {

enum class Role : std::uint32_t { Broker = 1, Worker = 2, Spawner = 3, Api = 4 };

enum class SupervisionType : std::uint32_t {
    // broker to jobletd
    Put = 1,     // keep these descriptors (1 … 4) under key; an earlier entry of that key is replaced
    Drop = 2,    // forget the key
    GetAll = 3,  // answered by Stored for each key, then StoredEnd
    Replace = 4, // kill that worker, spawner or API and start another; a Peer follows
    Ready = 8,   // records are loaded, and the API has asked for them: requests are answered
    // jobletd to broker
    Stored = 5,    // key, with its descriptors
    StoredEnd = 6, // after the last Stored
    Peer = 7,      // one descriptor: the broker's end of a socket to a process that was just started
};

struct SupervisionMessage {
    SupervisionType type{};
    Role role{};             // Peer, Replace; otherwise 0
    std::uint32_t index = 0; // of the worker; otherwise 0
    std::uint32_t zero = 0;
    JobId key; // Put, Drop, Stored; otherwise none
};

inline constexpr std::size_t kStoredDescriptorsMax = 4;
inline constexpr std::uint32_t kWorkersMax = 16;

} // namespace joblet
