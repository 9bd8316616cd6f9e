// Every volume of the host, in memory: by id, and by owner and name. What the broker said last is what is here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api-unpriv/volumes/labels.h"
#include "shared/protocol_messages.h"

namespace joblet::api {

struct Volume {
    protocol::VolumeEntry entry;
    Labels labels;
};

// Whose things a request is about; see struct Scope in the schema.
struct Scope {
    enum class Kind : std::uint8_t { Own, User, Everybody };
    Kind kind = Kind::Own;
    std::uint32_t uid = 0; // of Own and User

    [[nodiscard]] bool covers(std::uint32_t owner) const {
        return kind == Kind::Everybody || owner == uid;
    }
};

inline constexpr std::size_t kIdPrefixMin = 8; // digits

// Where a selector is looked up. Names of trashed volumes are free: they count only for those who mean the trash.
enum class Among : std::uint8_t {
    All,              // names of what is not trashed, ids of everything
    AllAndTrashNames, // names of the trashed as well, if nothing else has them
    Trash,            // names and ids of the trashed
};

enum class VolumeSort : std::uint8_t { Name, Created, Size, LastUsed };

struct LabelFilter {
    std::string key;
    std::optional<std::string> value; // nullopt: any
};

struct VolumeQuery {
    Scope scope;
    std::optional<protocol::VolumeType> type;
    std::optional<protocol::VolumeStatus> status; // nullopt: everything but Trashed
    std::optional<protocol::Backend> backend;
    std::vector<LabelFilter> labels;
    std::string name_prefix;
    VolumeSort sort = VolumeSort::Name;
    bool descending = false;
    std::size_t page_size = 100;
    std::string after; // VolumePage::next of the page before
};

struct VolumePage {
    std::vector<const Volume*> volumes; // valid until the index changes
    std::string next;                   // empty: the last page
    std::uint64_t matching = 0;
};

class VolumeIndex {
  public:
    // Replaces what was known of that id.
    void put(const protocol::VolumeEntry& entry, Labels labels);
    void erase(const VolumeId& id);

    [[nodiscard]] const Volume* find(const VolumeId& id) const;
    // Not among the trashed, whose names are free.
    [[nodiscard]] const Volume* find(std::uint32_t owner, const std::string& name) const;
    // A name, an id, or the first kIdPrefixMin or more digits of one: every match in scope, exact names first and alone.
    [[nodiscard]] std::vector<const Volume*> resolve(std::string_view text, const Scope& scope, Among among = Among::All) const;
    // By name it takes one page's time, without a filter; a filter looks at everything in scope, other orders sort it.
    // nullopt: `after` is not from here.
    [[nodiscard]] std::optional<VolumePage> list(const VolumeQuery& query) const;

    [[nodiscard]] std::size_t size() const {
        return by_id_.size();
    }
    [[nodiscard]] const std::map<VolumeId, Volume>& all() const {
        return by_id_;
    }

  private:
    // The order of VolumeSort::Name, total because of the id.
    struct NameKey {
        std::uint32_t owner = 0;
        std::string_view name; // of the volume in by_id_
        VolumeId id;

        auto operator<=>(const NameKey&) const = default;
    };
    using ByName = std::map<NameKey, const Volume*>;
    struct Shelf {
        ByName by_name;
        std::map<std::uint32_t, std::size_t> owners; // and how many each has here
    };
    struct Range {
        ByName::const_iterator begin;
        ByName::const_iterator end;
    };

    [[nodiscard]] Shelf& shelf_of(const Volume& volume) {
        return volume.entry.status == protocol::VolumeStatus::Trashed ? trashed_ : living_;
    }
    static std::vector<Range> ranges(const Shelf& shelf, const Scope& scope, std::string_view prefix);
    static void named(const Shelf& shelf, std::string_view name, const Scope& scope, std::vector<const Volume*>& found);
    static void skip_to(const Shelf& shelf, Range& range, const NameKey& after, bool descending);
    static std::uint64_t count(const Shelf& shelf, const VolumeQuery& query, const std::vector<Range>& ranges);
    static bool fill(VolumePage& page, const Range& range, const VolumeQuery& query);

    std::map<VolumeId, Volume> by_id_; // ordered: prefixes of ids are ranges; nodes do not move
    Shelf living_;
    Shelf trashed_;
};

} // namespace joblet::api
