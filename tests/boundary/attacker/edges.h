// Every request with each of its fields at its edges: what has a meaning there, and what has none. Said here once more, from the
// comments of shared/protocol.h, not from the decoder.
#pragma once

#include <string>
#include <vector>

#include "tests/boundary/attacker/scene.h"

namespace joblet::testing {

struct Edge {
    std::string what;
    protocol::Request request; // connection set
    bool has_meaning = false;  // otherwise it ends the API
};

// Ids and connections are those of the scene as it is now.
std::vector<Edge> edges_of_volumes(const Scene& scene);
std::vector<Edge> edges_of_jobs(const Scene& scene);

class EdgeList {
  public:
    // `change` moves one field to an edge.
    template <class R, class Change> void add(const char* what, bool has_meaning, R request, Change change) {
        change(request);
        list.push_back({std::string(protocol::row_of(R::kType).name) + ": " + what, request, has_meaning});
    }
    std::vector<Edge> list;
};

template <class R> R from(Connection connection, R request = {}) {
    request.header.connection = connection;
    return request;
}

} // namespace joblet::testing
