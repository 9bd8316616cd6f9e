// Every job that is alive or remembered: by id, by owner newest first, and by owner and name.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api-unpriv/jobs/job.h"
#include "api-unpriv/volumes/index.h"

namespace joblet::api {

struct JobQuery {
    Scope scope;
    std::optional<protocol::JobState> state;
    std::string name_prefix;
    std::size_t page_size = 100;
    std::string after; // JobPage::next of the page before
};
struct JobPage {
    std::vector<const Job*> jobs; // valid until the table changes
    std::string next;             // empty: the last page
    std::uint64_t matching = 0;
};

class JobTable {
  public:
    // Replaces what was known of that id.
    const Job& put(Job job);
    void erase(const JobId& id);
    [[nodiscard]] const Job* find(const JobId& id) const;
    [[nodiscard]] const Job* find(std::uint32_t owner, const std::string& name) const;
    // A name, an id, or the first kIdPrefixMin or more digits of one.
    [[nodiscard]] std::vector<const Job*> resolve(std::string_view text, const Scope& scope) const;
    // Which jobs that are alive have the volume.
    [[nodiscard]] std::vector<JobId> holding(const VolumeId& volume) const;
    // Newest first. nullopt: `after` is not from here.
    [[nodiscard]] std::optional<JobPage> list(const JobQuery& query) const;

    // The ended job that began longest ago, of this owner or of all.
    [[nodiscard]] const Job* oldest_ended(std::optional<std::uint32_t> owner) const;
    [[nodiscard]] std::size_t ended_count(std::optional<std::uint32_t> owner) const;

    [[nodiscard]] const std::map<JobId, Job>& all() const {
        return by_id_;
    }

  private:
    using Position = std::pair<std::int64_t, JobId>; // started_ns, id

    std::map<JobId, Job> by_id_;
    std::map<std::pair<std::uint32_t, std::string>, JobId> by_name_;
    std::map<std::uint32_t, std::set<Position>> ended_by_owner_;
    std::set<Position> ended_;
};

} // namespace joblet::api
