#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>

#include "api-unpriv/volumes/index.h"
#include "api-unpriv/volumes/labels.h"

using namespace joblet;
using namespace joblet::api;

namespace {

constexpr std::uint32_t kAlice = 1000;
constexpr std::uint32_t kBob = 1001;

VolumeId id_of(std::uint8_t first, std::uint8_t last) {
    VolumeId id;
    id.bytes.front() = first;
    id.bytes.back() = last;
    return id;
}

protocol::VolumeEntry entry_of(VolumeId id, std::uint32_t owner, std::string_view name) {
    protocol::VolumeEntry entry;
    entry.id = id;
    entry.owner_uid = owner;
    entry.name = NameText(name);
    entry.size_bytes = 1 << 20U;
    entry.type = protocol::VolumeType::Filesystem;
    entry.backend = protocol::Backend::Image;
    entry.status = protocol::VolumeStatus::Available;
    return entry;
}

std::vector<std::string> names_of(const VolumePage& page) {
    std::vector<std::string> names;
    std::ranges::transform(page.volumes, std::back_inserter(names), [](const Volume* volume) { return volume->entry.name.string(); });
    return names;
}

VolumeQuery own(std::uint32_t uid) {
    VolumeQuery query;
    query.scope = {Scope::Kind::Own, uid};
    return query;
}

} // namespace

TEST_CASE("a user's scope never shows another user's volume") {
    VolumeIndex index;
    index.put(entry_of(id_of(0xaa, 1), kAlice, "data"), {});
    index.put(entry_of(id_of(0xaa, 2), kBob, "data"), {});
    const Scope alice{Scope::Kind::Own, kAlice};

    REQUIRE(index.resolve("data", alice).size() == 1);
    CHECK(index.resolve("data", alice).front()->entry.owner_uid == kAlice);
    CHECK(index.resolve(to_string(id_of(0xaa, 2)), alice).empty());
    REQUIRE(index.resolve("aa000000", alice).size() == 1);
    CHECK(index.resolve("aa000000", {Scope::Kind::Everybody, 0}).size() == 2);
    CHECK(index.resolve("data", {Scope::Kind::Everybody, 0}).size() == 2);
    CHECK(names_of(*index.list(own(kAlice))) == std::vector<std::string>{"data"});
}

TEST_CASE("an id's prefix needs eight digits, and a name comes before an id") {
    VolumeIndex index;
    index.put(entry_of(id_of(0xaa, 1), kAlice, "data"), {});
    index.put(entry_of(id_of(0xbb, 1), kAlice, "aa000000"), {});
    const Scope alice{Scope::Kind::Own, kAlice};
    CHECK(index.resolve("aa00000", alice).empty());
    REQUIRE(index.resolve("aa000000", alice).size() == 1);
    CHECK(index.resolve("aa000000", alice).front()->entry.id == id_of(0xbb, 1));
    CHECK(index.resolve("aa0000000", alice).front()->entry.id == id_of(0xaa, 1));
    CHECK(index.resolve("AA000000", alice).empty());
    CHECK(index.resolve("", alice).empty());
}

TEST_CASE("a renamed volume is found under its new name only, a trashed one under none") {
    VolumeIndex index;
    index.put(entry_of(id_of(1, 1), kAlice, "old"), {});
    index.put(entry_of(id_of(1, 1), kAlice, "new"), {});
    CHECK(index.find(kAlice, "old") == nullptr);
    REQUIRE(index.find(kAlice, "new") != nullptr);

    auto trashed = entry_of(id_of(1, 1), kAlice, "new");
    trashed.status = protocol::VolumeStatus::Trashed;
    index.put(trashed, {});
    CHECK(index.find(kAlice, "new") == nullptr);
    index.put(entry_of(id_of(1, 2), kAlice, "new"), {});
    index.put(trashed, {}); // said once more: the name stays with the living
    CHECK(index.find(kAlice, "new")->entry.id == id_of(1, 2));
    CHECK(names_of(*index.list(own(kAlice))).size() == 1);
    auto query = own(kAlice);
    query.status = protocol::VolumeStatus::Trashed;
    CHECK(index.list(query)->volumes.size() == 1);
    index.erase(id_of(1, 1));
    CHECK(index.size() == 1);
}

TEST_CASE("pages of every order give each volume exactly once") {
    VolumeIndex index;
    constexpr int kVolumes = 57;
    for (int i = 0; i < kVolumes; ++i) {
        auto entry = entry_of(id_of(static_cast<std::uint8_t>(i * 37), static_cast<std::uint8_t>(i)), i % 2 == 0 ? kAlice : kBob,
                              fmt::format("v{:02}", (i * 31) % kVolumes));
        entry.size_bytes = static_cast<std::uint64_t>(i % 5) << 20U; // many alike
        entry.created_ns = i / 3;
        index.put(entry, {});
    }
    for (const auto sort : {VolumeSort::Name, VolumeSort::Created, VolumeSort::Size, VolumeSort::LastUsed}) {
        for (const bool descending : {false, true}) {
            VolumeQuery query;
            query.scope = {Scope::Kind::Everybody, 0};
            query.sort = sort;
            query.descending = descending;
            query.page_size = 10;
            std::set<VolumeId> seen;
            std::vector<std::uint64_t> sizes;
            int pages = 0;
            do {
                const auto page = index.list(query);
                REQUIRE(page);
                CHECK(page->matching == kVolumes);
                for (const Volume* volume : page->volumes) {
                    CHECK(seen.insert(volume->entry.id).second);
                    sizes.push_back(volume->entry.size_bytes);
                }
                query.after = page->next;
                REQUIRE(++pages <= 6);
            } while (!query.after.empty());
            CHECK(seen.size() == kVolumes);
            if (sort == VolumeSort::Size) {
                CHECK((descending ? std::ranges::is_sorted(sizes, std::greater{}) : std::ranges::is_sorted(sizes)));
            }
        }
    }
}

TEST_CASE("a page begins after a volume that is gone meanwhile") {
    VolumeIndex index;
    for (std::uint8_t i = 1; i <= 4; ++i) {
        index.put(entry_of(id_of(i, i), kAlice, fmt::format("v{}", i)), {});
    }
    auto query = own(kAlice);
    query.page_size = 2;
    query.after = index.list(query)->next;
    index.erase(id_of(2, 2));
    CHECK(names_of(*index.list(query)) == std::vector<std::string>{"v3", "v4"});
}

TEST_CASE("of a hundred thousand volumes every page is found where the one before ended, whatever comes and goes meanwhile") {
    constexpr std::uint32_t kVolumes = 100'000;
    constexpr std::uint32_t kOwners = 10;
    VolumeIndex index;
    const auto id_at = [](std::uint32_t i) {
        VolumeId id;
        const std::uint32_t scattered = i * 2'654'435'761U;
        std::memcpy(id.bytes.data(), &scattered, sizeof scattered);
        std::memcpy(id.bytes.data() + 8, &i, sizeof i);
        return id;
    };
    for (std::uint32_t i = 0; i < kVolumes; ++i) {
        auto entry = entry_of(id_at(i), kAlice + i % kOwners, fmt::format("{}{:06}", i % 4 == 0 ? "a" : "b", i));
        if (i % 3 == 0) {
            entry.status = protocol::VolumeStatus::InUse;
        }
        index.put(entry, i % 5 == 0 ? Labels{{"env", "prod"}} : Labels{});
    }
    const auto by_name = [](const Volume* a, const Volume* b) {
        return std::pair(a->entry.owner_uid, a->entry.name.view()) < std::pair(b->entry.owner_uid, b->entry.name.view());
    };
    struct Row {
        const char* what;
        Scope scope;
        std::optional<protocol::VolumeStatus> status;
        std::vector<LabelFilter> labels;
        std::string prefix;
    };
    const Scope everybody{Scope::Kind::Everybody, 0};
    const Row rows[] = {
        {"all", everybody, {}, {}, ""},
        {"one user's", {Scope::Kind::User, kAlice + 3}, {}, {}, ""},
        {"in use", everybody, protocol::VolumeStatus::InUse, {}, ""},
        {"with a label", everybody, {}, {{"env", "prod"}}, ""},
        {"by prefix", everybody, {}, {}, "a"},
        {"all of it", {Scope::Kind::User, kAlice + 5}, protocol::VolumeStatus::Available, {{"env", std::nullopt}}, "b0"},
    };
    for (const auto& row : rows) {
        for (const bool descending : {false, true}) {
            CAPTURE(row.what);
            CAPTURE(descending);
            VolumeQuery query;
            query.scope = row.scope;
            query.status = row.status;
            query.labels = row.labels;
            query.name_prefix = row.prefix;
            query.descending = descending;
            query.page_size = 1000;
            const auto wanted = [&](std::uint32_t i) {
                return row.scope.covers(kAlice + i % kOwners) &&
                       (!row.status || (*row.status == protocol::VolumeStatus::InUse) == (i % 3 == 0)) &&
                       (row.labels.empty() || i % 5 == 0) && fmt::format("{}{:06}", i % 4 == 0 ? "a" : "b", i).starts_with(row.prefix);
            };
            std::set<VolumeId> expected;
            for (std::uint32_t i = 0; i < kVolumes; ++i) {
                if (wanted(i)) {
                    expected.insert(id_at(i));
                }
            }
            std::set<VolumeId> seen;
            bool once = true;
            bool sorted = true;
            std::uint8_t comers = 0;
            do {
                const auto page = index.list(query);
                REQUIRE(page);
                CHECK(page->matching >= expected.size());
                CHECK(page->matching <= expected.size() + comers);
                sorted = sorted && (descending ? std::ranges::is_sorted(page->volumes, [&](auto* a, auto* b) { return by_name(b, a); })
                                               : std::ranges::is_sorted(page->volumes, by_name));
                for (const Volume* volume : page->volumes) {
                    once = once && seen.insert(volume->entry.id).second;
                }
                query.after = page->next;
                // Others come and go before and after this place, and what the position names goes and comes back
                ++comers;
                for (const char* name : {"a", "b05", "c"}) {
                    auto comer = entry_of(id_of(comers, 0xee), kAlice + comers % kOwners, fmt::format("{}new{}", name, comers));
                    index.put(comer, {{"env", "prod"}});
                }
                if (comers % 2 == 0) {
                    index.erase(id_of(comers, 0xee));
                }
                REQUIRE_FALSE(page->volumes.empty());
                const Volume last = *page->volumes.back();
                index.erase(last.entry.id);
                index.put(last.entry, last.labels);
            } while (!query.after.empty());
            CHECK(once);
            CHECK(sorted);
            CHECK(std::ranges::includes(seen, expected));
            for (std::uint8_t i = 1; i <= comers; ++i) {
                index.erase(id_of(i, 0xee));
            }
            query.after.clear();
            CHECK(index.list(query)->matching == expected.size());
        }
    }
}

TEST_CASE("a position outside what is asked for gives nothing of others") {
    VolumeIndex index;
    for (std::uint8_t i = 1; i <= 4; ++i) {
        index.put(entry_of(id_of(i, i), kAlice, fmt::format("a{}", i)), {});
        index.put(entry_of(id_of(i, 0x80), kBob, fmt::format("b{}", i)), {});
    }
    const std::string none(32, '0');
    const auto listed = [&](std::uint32_t who, const std::string& after, bool descending) {
        auto query = own(who);
        query.after = after;
        query.descending = descending;
        return names_of(*index.list(query)).size();
    };
    CHECK(listed(kBob, fmt::format("0|{}|a2|{}", kAlice, none), false) == 4); // all of his come after it
    CHECK(listed(kBob, fmt::format("0|{}|a2|{}", kAlice, none), true) == 0);
    CHECK(listed(kAlice, fmt::format("0|{}|b2|{}", kBob, none), false) == 0);
    CHECK(listed(kAlice, fmt::format("0|{}|b2|{}", kBob, none), true) == 4);
    CHECK(listed(kBob + 1, fmt::format("0|{}|b2|{}", kBob, none), false) == 0);
}

TEST_CASE("names of the trashed are looked up only by those who mean the trash") {
    VolumeIndex index;
    const auto trash = [&index](std::uint8_t number, std::string_view name) {
        auto entry = entry_of(id_of(number, 1), kAlice, name);
        entry.status = protocol::VolumeStatus::Trashed;
        index.put(entry, {});
    };
    trash(1, "data");
    trash(2, "data");
    trash(3, "old");
    index.put(entry_of(id_of(4, 1), kAlice, "data"), {});
    const Scope alice{Scope::Kind::Own, kAlice};
    const auto found = [&](std::string_view text, Among among) { return index.resolve(text, alice, among).size(); };
    CHECK(found("data", Among::All) == 1);
    CHECK(found("data", Among::AllAndTrashNames) == 1);
    CHECK(found("data", Among::Trash) == 2);
    CHECK(found("old", Among::All) == 0);
    CHECK(found("old", Among::AllAndTrashNames) == 1);
    CHECK(found("04000000", Among::Trash) == 0);
    CHECK(found("03000000", Among::Trash) == 1);
    CHECK(found("03000000", Among::All) == 1);
    CHECK(index.resolve("data", {Scope::Kind::Everybody, 0}, Among::Trash).size() == 2);
    CHECK(index.resolve("data", {Scope::Kind::Own, kBob}, Among::Trash).empty());
    auto query = own(kAlice);
    query.status = protocol::VolumeStatus::Trashed;
    CHECK(names_of(*index.list(query)) == std::vector<std::string>{"data", "data", "old"});
    CHECK(index.list(query)->matching == 3);
}

TEST_CASE("a page position that is not ours is refused") {
    const VolumeIndex index;
    auto query = own(kAlice);
    for (const auto* after : {"x", "|||", "1|2|a", "1|2|a|b", "a|2|n|00000000000000000000000000000000", "1|2|n|0000|"}) {
        query.after = after;
        CHECK_FALSE(index.list(query));
    }
}

TEST_CASE("filters must all hold") {
    VolumeIndex index;
    index.put(entry_of(id_of(1, 1), kAlice, "a1"), {{"env", "prod"}, {"team", "x"}});
    index.put(entry_of(id_of(1, 2), kAlice, "a2"), {{"env", "test"}});
    auto memory = entry_of(id_of(1, 3), kAlice, "b1");
    memory.type = protocol::VolumeType::Memory;
    memory.backend = protocol::Backend::Tmpfs;
    index.put(memory, {{"env", "prod"}});

    auto query = own(kAlice);
    query.labels = {{"env", "prod"}};
    CHECK(names_of(*index.list(query)) == std::vector<std::string>{"a1", "b1"});
    query.labels = {{"env", "prod"}, {"team", std::nullopt}};
    CHECK(names_of(*index.list(query)) == std::vector<std::string>{"a1"});
    query.labels = {{"env", std::nullopt}};
    query.type = protocol::VolumeType::Memory;
    CHECK(names_of(*index.list(query)) == std::vector<std::string>{"b1"});
    query = own(kAlice);
    query.name_prefix = std::string("a");
    CHECK(names_of(*index.list(query)) == std::vector<std::string>{"a1", "a2"});
    query.status = protocol::VolumeStatus::InUse;
    CHECK(index.list(query)->matching == 0);
}

TEST_CASE("labels survive the blob, sorted") {
    const Labels labels = {{"team", "x y \xc3\xa4"}, {"a/b", ""}, {"env", "prod"}};
    const auto blob = encode_labels(labels);
    REQUIRE(blob);
    const auto back = decode_labels(*blob);
    REQUIRE(back);
    CHECK(*back == Labels{{"a/b", ""}, {"env", "prod"}, {"team", "x y \xc3\xa4"}});
    CHECK(encode_labels({})->empty());
    CHECK(decode_labels({})->empty());
}

TEST_CASE("labels of the wrong form are refused, each with what is accepted") {
    using namespace std::string_literals;
    const Labels rows[] = {
        {{"", "x"}},
        {{"-a", "x"}},
        {{"a b", "x"}},
        {{std::string(64, 'a'), "x"}},
        {{"a", std::string(256, 'x')}},
        {{"a", "line\nbreak"}},
        {{"a", "nul\0"s}},
        {{"a", "\x1b[31m"}},
        {{"a", "\xc2\x9b"}},         // C1: CSI
        {{"a", "\xff"}},             // no UTF-8
        {{"a", "\xc0\xaf"}},         // overlong
        {{"a", "\xed\xa0\x80"}},     // surrogate
        {{"a", "\xf4\x90\x80\x80"}}, // beyond Unicode
        {{"a", "\xe2\x82"}},         // cut
        {{"a", "1"}, {"a", "2"}},
    };
    for (const auto& labels : rows) {
        CAPTURE(labels.front().first);
        CHECK_FALSE(encode_labels(labels));
    }
    Labels many;
    for (int i = 0; i < 100; ++i) {
        many.emplace_back(fmt::format("k{}", i), std::string(100, 'v'));
    }
    CHECK_FALSE(encode_labels(many));
}

TEST_CASE("a blob that was not made here is not taken for labels") {
    const auto decodes = [](std::string_view text) {
        return decode_labels({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}).has_value();
    };
    CHECK(decodes(std::string_view("a\0b\0", 4)));
    CHECK_FALSE(decodes(std::string_view("a\0b", 3)));
    CHECK_FALSE(decodes(std::string_view("a\0", 2)));
    CHECK_FALSE(decodes(std::string_view("b\0x\0a\0x\0", 8)));
    CHECK_FALSE(decodes(std::string_view("a\0x\0a\0x\0", 8)));
    CHECK_FALSE(decodes(std::string_view("\0x\0", 3)));
}
