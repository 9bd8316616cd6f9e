// What must be there, as this side knows it from what it asked for and was answered; and what no answer may ever be. Knows nothing of
// how the broker decides.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "shared/protocol_messages.h"

namespace joblet::testing {

// In whose name a request is: what the kernel said of the connection when it was made.
struct Asker {
    std::uint32_t uid = 0;
    bool admin = false;
};

struct ModelVolume {
    std::uint32_t owner = 0;
    std::string name;
    protocol::VolumeType type{};
    std::uint64_t size_bytes = 0;
    bool trashed = false;
    bool is_protected = false;
    std::string labels;
};
struct ModelMount {
    protocol::Access access{};
    std::string target; // besides /volumes/<name>; empty: none
};
struct ModelJob {
    std::uint32_t owner = 0;
    bool ended = false;
    bool has_log = false;
    bool answered = false; // its StartJob, or its outcome was learned
    std::map<VolumeId, ModelMount> volumes;
};

class Model {
  public:
    // An answer, or nothing (the API was ended before there was one: it may have been done, or not). Gives what is wrong with it, in
    // sentences, and takes note of what it says. `asker`: nullopt for a connection that is not open; not looked at without one.
    std::vector<std::string> take(const protocol::Request& request, const std::optional<Asker>& asker, const protocol::Message& answer);
    // News that nobody asked for.
    void hear(const protocol::Message& news);
    // What the broker says there is, after requests that were never answered: their outcome is not known otherwise. What they cannot
    // have done is wrong.
    std::vector<std::string> learn(const std::vector<protocol::VolumeEntry>& volumes, const std::vector<protocol::JobEntry>& jobs,
                                   const std::vector<std::pair<protocol::Request, std::optional<Asker>>>& unanswered);

    [[nodiscard]] const std::map<VolumeId, ModelVolume>& volumes() const {
        return volumes_;
    }
    [[nodiscard]] const std::map<JobId, ModelJob>& jobs() const {
        return jobs_;
    }
    [[nodiscard]] std::size_t alive() const;
    // Of running jobs that have it.
    [[nodiscard]] std::set<JobId> holders(const VolumeId& id) const;

  private:
    friend class Judge;

    std::map<VolumeId, ModelVolume> volumes_;
    std::map<JobId, ModelJob> jobs_;
    struct Released {
        std::uint32_t owner = 0;
        std::uint64_t sequence = 0; // of the request for it
    };
    std::map<JobId, Released> released_;    // through this API
    std::map<JobId, std::uint32_t> listed_; // whose, as a list said, before it was known otherwise
    std::map<JobId, std::uint32_t> named_;  // in an answer to that user, before it was known whose they are
};

// "DeleteVolume (volume …) for uid 20001"
std::string describe(const protocol::Request& request, const std::optional<Asker>& asker);

} // namespace joblet::testing
