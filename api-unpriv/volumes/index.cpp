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
    return (!query.status || entry.status == *query.status) && (!query.type || entry.type == *query.type) &&
           (!query.backend || entry.backend == *query.backend) && has_labels(volume, query.labels);
}
// Whether everything in the ranges of a query is in its list.
bool takes_all(const VolumeQuery& query) {
    return (!query.status || *query.status == VolumeStatus::Trashed) && !query.type && !query.backend && query.labels.empty();
}

bool is_hex(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

} // namespace

void VolumeIndex::put(const protocol::VolumeEntry& entry, Labels labels) {
    erase(entry.id); // the name may have changed
    const Volume& volume = by_id_.emplace(entry.id, Volume{entry, std::move(labels)}).first->second;
    Shelf& shelf = shelf_of(volume);
    shelf.by_name.emplace(NameKey{entry.owner_uid, volume.entry.name.view(), entry.id}, &volume);
    ++shelf.owners[entry.owner_uid];
}

void VolumeIndex::erase(const VolumeId& id) {
    const auto place = by_id_.find(id);
    if (place == by_id_.end()) {
        return;
    }
    const auto& entry = place->second.entry;
    Shelf& shelf = shelf_of(place->second);
    shelf.by_name.erase({entry.owner_uid, entry.name.view(), id});
    if (const auto owner = shelf.owners.find(entry.owner_uid); --owner->second == 0) {
        shelf.owners.erase(owner);
    }
    by_id_.erase(place);
}

const Volume* VolumeIndex::find(const VolumeId& id) const {
    const auto place = by_id_.find(id);
    return place == by_id_.end() ? nullptr : &place->second;
}

const Volume* VolumeIndex::find(std::uint32_t owner, const std::string& name) const {
    std::vector<const Volume*> found;
    named(living_, name, {Scope::Kind::User, owner}, found);
    return found.empty() ? nullptr : found.front();
}

void VolumeIndex::named(const Shelf& shelf, std::string_view name, const Scope& scope, std::vector<const Volume*>& found) {
    const auto look = [&](std::uint32_t owner) {
        for (auto place = shelf.by_name.lower_bound({owner, name, {}});
             place != shelf.by_name.end() && place->first.owner == owner && place->first.name == name; ++place) {
            found.push_back(place->second);
        }
    };
    if (scope.kind == Scope::Kind::Everybody) {
        std::ranges::for_each(shelf.owners, [&](const auto& owner) { look(owner.first); });
    } else {
        look(scope.uid);
    }
}

std::vector<const Volume*> VolumeIndex::resolve(std::string_view text, const Scope& scope, Among among) const {
    std::vector<const Volume*> found;
    if (among != Among::Trash) {
        named(living_, text, scope, found);
    }
    if (found.empty() && among != Among::All) {
        named(trashed_, text, scope, found);
    }
    if (!found.empty() || text.size() < kIdPrefixMin || text.size() > kIdHexLength || !is_hex(text)) {
        return found;
    }
    std::string first(text);
    first.resize(kIdHexLength, '0');
    for (auto place = by_id_.lower_bound(*parse_id<VolumeId>(first)); place != by_id_.end() && to_string(place->first).starts_with(text);
         ++place) {
        const auto& entry = place->second.entry;
        if (scope.covers(entry.owner_uid) && (among != Among::Trash || entry.status == VolumeStatus::Trashed)) {
            found.push_back(&place->second);
        }
    }
    return found;
}

// ---- lists

// What is in scope and begins with the prefix, in ascending order; none of them is empty.
std::vector<VolumeIndex::Range> VolumeIndex::ranges(const Shelf& shelf, const Scope& scope, std::string_view prefix) {
    std::vector<Range> out;
    const auto add = [&out](Range range) {
        if (range.begin != range.end) {
            out.push_back(range);
        }
    };
    const std::string beyond = std::string(prefix) + '\x7f'; // comes after all that a name may go on with
    const auto add_owner = [&](std::uint32_t owner) {
        add({shelf.by_name.lower_bound({owner, prefix, {}}), shelf.by_name.lower_bound({owner, beyond, {}})});
    };
    if (scope.kind != Scope::Kind::Everybody) {
        add_owner(scope.uid);
    } else if (prefix.empty()) {
        add({shelf.by_name.begin(), shelf.by_name.end()});
    } else {
        std::ranges::for_each(shelf.owners, [&](const auto& owner) { add_owner(owner.first); });
    }
    return out;
}

// Drops what the pages before have given. The position need not be of anything that is there.
void VolumeIndex::skip_to(const Shelf& shelf, Range& range, const NameKey& after, bool descending) {
    const auto& first = range.begin->first;
    const auto& last = std::prev(range.end)->first;
    if (descending) {
        range.end = after <= first ? range.begin : after <= last ? shelf.by_name.lower_bound(after) : range.end;
    } else {
        range.begin = last <= after ? range.end : first <= after ? shelf.by_name.upper_bound(after) : range.begin;
    }
}

std::uint64_t VolumeIndex::count(const Shelf& shelf, const VolumeQuery& query, const std::vector<Range>& ranges) {
    if (takes_all(query) && query.name_prefix.empty()) {
        if (query.scope.kind == Scope::Kind::Everybody) {
            return shelf.by_name.size();
        }
        const auto owner = shelf.owners.find(query.scope.uid);
        return owner == shelf.owners.end() ? 0 : owner->second;
    }
    std::uint64_t matching = 0;
    for (const auto& range : ranges) {
        matching += static_cast<std::uint64_t>(
            std::count_if(range.begin, range.end, [&query](const auto& place) { return matches(*place.second, query); }));
    }
    return matching;
}

// Adds what matches; false once the page is full and there is more.
bool VolumeIndex::fill(VolumePage& page, const Range& range, const VolumeQuery& query) {
    const auto take = [&](const Volume& volume) {
        if (!matches(volume, query)) {
            return true;
        }
        if (page.volumes.size() == query.page_size) {
            return false;
        }
        page.volumes.push_back(&volume);
        return true;
    };
    const auto all_of = [&take](const auto& begin, const auto& end) {
        return std::all_of(begin, end, [&take](const auto& place) { return take(*place.second); });
    };
    return query.descending ? all_of(std::make_reverse_iterator(range.end), std::make_reverse_iterator(range.begin))
                            : all_of(range.begin, range.end);
}

std::optional<VolumePage> VolumeIndex::list(const VolumeQuery& query) const {
    std::optional<Position> after;
    if (!query.after.empty()) {
        after = parse_position(query.after);
        if (!after) {
            return std::nullopt;
        }
    }
    const Shelf& shelf = query.status == VolumeStatus::Trashed ? trashed_ : living_;
    auto parts = ranges(shelf, query.scope, query.name_prefix);
    VolumePage page;
    page.matching = count(shelf, query, parts);
    bool more = false;
    if (query.sort == VolumeSort::Name) {
        if (query.descending) {
            std::ranges::reverse(parts);
        }
        for (auto& range : parts) {
            if (after) {
                skip_to(shelf, range, {after->owner, after->name, after->id}, query.descending);
            }
            more = !fill(page, range, query);
            if (more) {
                break;
            }
        }
    } else {
        const auto comes_before = [&query](const Position& a, const Position& b) { return query.descending ? b < a : a < b; };
        for (const auto& range : parts) {
            std::for_each(range.begin, range.end, [&](const auto& place) {
                if (matches(*place.second, query) && (!after || comes_before(*after, position_of(*place.second, query.sort)))) {
                    page.volumes.push_back(place.second);
                }
            });
        }
        const std::size_t shown = std::min(query.page_size, page.volumes.size());
        std::partial_sort(
            page.volumes.begin(), page.volumes.begin() + static_cast<std::ptrdiff_t>(shown), page.volumes.end(),
            [&](const Volume* a, const Volume* b) { return comes_before(position_of(*a, query.sort), position_of(*b, query.sort)); });
        more = shown < page.volumes.size();
        page.volumes.resize(shown);
    }
    if (more && !page.volumes.empty()) {
        page.next = render(position_of(*page.volumes.back(), query.sort));
    }
    return page;
}

} // namespace joblet::api
