#include "api-unpriv/jobs/table.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace joblet::api {

namespace {

using Position = std::pair<std::int64_t, JobId>;

Position position_of(const Job& job) {
    return {job.started_ns, job.id};
}

std::optional<Position> parse_position(std::string_view text) {
    const auto bar = text.find('|');
    if (bar == std::string_view::npos) {
        return std::nullopt;
    }
    Position position;
    const std::string_view number = text.substr(0, bar);
    const auto [end, error] = std::from_chars(number.begin(), number.end(), position.first);
    const auto id = parse_id<JobId>(text.substr(bar + 1));
    if (error != std::errc{} || end != number.end() || !id) {
        return std::nullopt;
    }
    position.second = *id;
    return position;
}

bool is_hex(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

} // namespace

const Job& JobTable::put(Job job) {
    erase(job.id);
    const JobId id = job.id;
    const Job& there = by_id_.emplace(id, std::move(job)).first->second;
    if (!there.name.empty()) {
        by_name_[{there.owner_uid, there.name}] = id;
    }
    if (there.state == protocol::JobState::Ended) {
        ended_.insert(position_of(there));
        ended_by_owner_[there.owner_uid].insert(position_of(there));
    }
    return there;
}

void JobTable::erase(const JobId& id) {
    const auto place = by_id_.find(id);
    if (place == by_id_.end()) {
        return;
    }
    const Job& job = place->second;
    const auto named = by_name_.find({job.owner_uid, job.name});
    if (named != by_name_.end() && named->second == id) {
        by_name_.erase(named);
    }
    ended_.erase(position_of(job));
    if (const auto owner = ended_by_owner_.find(job.owner_uid); owner != ended_by_owner_.end()) {
        owner->second.erase(position_of(job));
        if (owner->second.empty()) {
            ended_by_owner_.erase(owner);
        }
    }
    by_id_.erase(place);
}

const Job* JobTable::find(const JobId& id) const {
    const auto place = by_id_.find(id);
    return place == by_id_.end() ? nullptr : &place->second;
}

const Job* JobTable::find(std::uint32_t owner, const std::string& name) const {
    const auto place = by_name_.find({owner, name});
    return place == by_name_.end() ? nullptr : find(place->second);
}

std::vector<const Job*> JobTable::resolve(std::string_view text, const Scope& scope) const {
    std::vector<const Job*> found;
    if (scope.kind == Scope::Kind::Everybody) {
        for (const auto& [key, id] : by_name_) {
            if (key.second == text) {
                found.push_back(find(id));
            }
        }
    } else if (const Job* job = find(scope.uid, std::string(text))) {
        found.push_back(job);
    }
    if (!found.empty() || text.size() < kIdPrefixMin || text.size() > kIdHexLength || !is_hex(text)) {
        return found;
    }
    std::string first(text);
    first.resize(kIdHexLength, '0');
    for (auto place = by_id_.lower_bound(*parse_id<JobId>(first)); place != by_id_.end() && to_string(place->first).starts_with(text);
         ++place) {
        if (scope.covers(place->second.owner_uid)) {
            found.push_back(&place->second);
        }
    }
    return found;
}

std::vector<JobId> JobTable::holding(const VolumeId& volume) const {
    std::vector<JobId> out;
    for (const auto& [id, job] : by_id_) {
        if (job.state != protocol::JobState::Ended && std::ranges::find(job.volumes, volume, &UsedVolume::id) != job.volumes.end()) {
            out.push_back(id);
        }
    }
    return out;
}

std::optional<JobPage> JobTable::list(const JobQuery& query) const {
    std::optional<Position> after;
    if (!query.after.empty()) {
        after = parse_position(query.after);
        if (!after) {
            return std::nullopt;
        }
    }
    JobPage page;
    for (const auto& [id, job] : by_id_) {
        if (!query.scope.covers(job.owner_uid) || (query.state && job.state != *query.state) || !job.name.starts_with(query.name_prefix)) {
            continue;
        }
        ++page.matching;
        if (!after || position_of(job) < *after) {
            page.jobs.push_back(&job);
        }
    }
    const std::size_t shown = std::min(query.page_size, page.jobs.size());
    std::partial_sort(page.jobs.begin(), page.jobs.begin() + static_cast<std::ptrdiff_t>(shown), page.jobs.end(),
                      [](const Job* a, const Job* b) { return position_of(*b) < position_of(*a); });
    if (shown < page.jobs.size()) {
        page.jobs.resize(shown);
        if (!page.jobs.empty()) {
            page.next = fmt::format("{}|{}", page.jobs.back()->started_ns, to_string(page.jobs.back()->id));
        }
    }
    return page;
}

const Job* JobTable::oldest_ended(std::optional<std::uint32_t> owner) const {
    if (!owner) {
        return ended_.empty() ? nullptr : find(ended_.begin()->second);
    }
    const auto theirs = ended_by_owner_.find(*owner);
    return theirs == ended_by_owner_.end() ? nullptr : find(theirs->second.begin()->second);
}

std::size_t JobTable::ended_count(std::optional<std::uint32_t> owner) const {
    if (!owner) {
        return ended_.size();
    }
    const auto theirs = ended_by_owner_.find(*owner);
    return theirs == ended_by_owner_.end() ? 0 : theirs->second.size();
}

} // namespace joblet::api
