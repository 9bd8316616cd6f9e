#include "api-unpriv/volumes/index.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <tuple>

#include <fmt/format.h>

namespace joblet::api {

namespace {

using protocol::VolumeStatus;

// One order for every list, total because of the id; it is also what a page's `next` says.
struct Position {
    std::uint64_t number = 0; // of what is sorted by; 0 when sorted by name
    std::uint32_t owner = 0;
    std::string_view name;
    VolumeId id;

    auto operator<=>(const Position&) const = default;
};

std::uint64_t number_of(const protocol::VolumeEntry& entry, VolumeSort sort) {
    switch (sort) {
    case VolumeSort::Name:
        return 0;
    case VolumeSort::Created:
        return static_cast<std::uint64_t>(entry.created_ns);
    case VolumeSort::Size:
        return entry.size_bytes;
    case VolumeSort::LastUsed:
        return static_cast<std::uint64_t>(entry.last_used_ns);
    }
    return 0;
}

Position position_of(const Volume& volume, VolumeSort sort) {
    return {number_of(volume.entry, sort), volume.entry.owner_uid, volume.entry.name.view(), volume.entry.id};
}

std::string render(const Position& position) {
    return fmt::format("{}|{}|{}|{}", position.number, position.owner, position.name, to_string(position.id));
}

template <class Number> bool parse_number(std::string_view text, Number& out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc{} && end == text.data() + text.size();
}

std::optional<Position> parse_position(std::string_view text) {
    std::array<std::string_view, 4> parts;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const auto bar = text.find('|');
        if ((bar == std::string_view::npos) != (i + 1 == parts.size())) {
            return std::nullopt;
        }
        parts[i] = text.substr(0, bar);
        text.remove_prefix(bar == std::string_view::npos ? text.size() : bar + 1);
    }
    Position position;
    const auto id = parse_id<VolumeId>(parts[3]);
    if (!id || !parse_number(parts[0], position.number) || !parse_number(parts[1], position.owner)) {
        return std::nullopt;
    }
    position.name = parts[2];
    position.id = *id;
    return position;
}

bool has_labels(const Volume& volume, const std::vector<LabelFilter>& filters) {
    return std::ranges::all_of(filters, [&volume](const LabelFilter& filter) {
        const auto label = std::ranges::lower_bound(volume.labels, filter.key, {}, &Labels::value_type::first);
        return label != volume.labels.end() && label->first == filter.key && (!filter.value || *filter.value == label->second);
    });
}

bool matches(const Volume& volume, const VolumeQuery& query) {
    const auto& entry = volume.entry;
    const bool status_fits = query.status ? entry.status == *query.status : entry.status != VolumeStatus::Trashed;
    return status_fits && query.scope.covers(entry.owner_uid) && (!query.type || entry.type == *query.type) &&
           (!query.backend || entry.backend == *query.backend) && entry.name.view().starts_with(query.name_prefix) &&
           has_labels(volume, query.labels);
}

bool is_hex(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

} // namespace

void VolumeIndex::put(const protocol::VolumeEntry& entry, Labels labels) {
    erase(entry.id); // the name may have changed
    const auto place = by_id_.emplace(entry.id, Volume{entry, std::move(labels)}).first;
    if (entry.status != VolumeStatus::Trashed) {
        by_name_[{entry.owner_uid, entry.name.string()}] = &place->second;
    }
}

void VolumeIndex::erase(const VolumeId& id) {
    const auto place = by_id_.find(id);
    if (place == by_id_.end()) {
        return;
    }
    const auto named = by_name_.find({place->second.entry.owner_uid, place->second.entry.name.string()});
    if (named != by_name_.end() && named->second == &place->second) {
        by_name_.erase(named);
    }
    by_id_.erase(place);
}

const Volume* VolumeIndex::find(const VolumeId& id) const {
    const auto place = by_id_.find(id);
    return place == by_id_.end() ? nullptr : &place->second;
}

const Volume* VolumeIndex::find(std::uint32_t owner, const std::string& name) const {
    const auto place = by_name_.find({owner, name});
    return place == by_name_.end() ? nullptr : place->second;
}

std::vector<const Volume*> VolumeIndex::resolve(std::string_view text, const Scope& scope) const {
    std::vector<const Volume*> found;
    if (scope.kind == Scope::Kind::Everybody) {
        for (const auto& [key, volume] : by_name_) {
            if (key.second == text) {
                found.push_back(volume);
            }
        }
    } else if (const Volume* volume = find(scope.uid, std::string(text))) {
        found.push_back(volume);
    }
    if (!found.empty() || text.size() < kIdPrefixMin || text.size() > kIdHexLength || !is_hex(text)) {
        return found;
    }
    std::string first(text);
    first.resize(kIdHexLength, '0');
    for (auto place = by_id_.lower_bound(*parse_id<VolumeId>(first)); place != by_id_.end() && to_string(place->first).starts_with(text);
         ++place) {
        if (scope.covers(place->second.entry.owner_uid)) {
            found.push_back(&place->second);
        }
    }
    return found;
}

std::optional<VolumePage> VolumeIndex::list(const VolumeQuery& query) const {
    std::optional<Position> after;
    if (!query.after.empty()) {
        after = parse_position(query.after);
        if (!after) {
            return std::nullopt;
        }
    }
    const auto comes_before = [&query](const Position& a, const Position& b) { return query.descending ? b < a : a < b; };

    VolumePage page;
    const auto consider = [&](const Volume& volume) {
        if (matches(volume, query)) {
            ++page.matching;
            if (!after || comes_before(*after, position_of(volume, query.sort))) {
                page.volumes.push_back(&volume);
            }
        }
    };
    if (query.status == VolumeStatus::Trashed) {
        std::ranges::for_each(by_id_, [&](const auto& place) { consider(place.second); });
    } else if (query.scope.kind == Scope::Kind::Everybody) {
        std::ranges::for_each(by_name_, [&](const auto& place) { consider(*place.second); });
    } else {
        for (auto place = by_name_.lower_bound({query.scope.uid, query.name_prefix});
             place != by_name_.end() && place->first.first == query.scope.uid && place->first.second.starts_with(query.name_prefix);
             ++place) {
            consider(*place->second);
        }
    }

    const std::size_t shown = std::min(query.page_size, page.volumes.size());
    std::partial_sort(
        page.volumes.begin(), page.volumes.begin() + static_cast<std::ptrdiff_t>(shown), page.volumes.end(),
        [&](const Volume* a, const Volume* b) { return comes_before(position_of(*a, query.sort), position_of(*b, query.sort)); });
    if (shown < page.volumes.size()) {
        page.volumes.resize(shown);
        if (!page.volumes.empty()) {
            page.next = render(position_of(*page.volumes.back(), query.sort));
        }
    }
    return page;
}

} // namespace joblet::api
