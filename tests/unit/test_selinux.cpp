// Which categories an owner has, and the text of labels.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "broker-root/kernel/selinux.h"

using namespace joblet::kernel;

namespace {

std::uint32_t number_of(const CategoryPair& pair) {
    return pair.low * kCategories + pair.high;
}

std::string_view text_of(const Label& label) {
    return label.data();
}

} // namespace

TEST_CASE("as many owners as there are pairs have each one of their own") {
    // From two places of the range, so that what follows the last pair is looked at, too
    for (const std::uint32_t first : {std::uint32_t{0}, std::uint32_t{1'000'000}}) {
        std::vector<bool> taken(std::size_t{kCategories} * kCategories);
        bool sound = true;
        for (std::uint32_t i = 0; i < kCategoryPairs; ++i) {
            const auto pair = categories_of(first + i);
            sound = sound && pair.low < pair.high && pair.high < kCategories && !taken[number_of(pair)];
            taken[number_of(pair)] = true;
        }
        CHECK(sound);
        CHECK(std::ranges::count(taken, true) == kCategoryPairs);
    }
}

TEST_CASE("a pair is shared by owners whose uids differ by the number of pairs, and stays the same for ever") {
    CHECK(number_of(categories_of(5)) == number_of(categories_of(5 + kCategoryPairs)));
    // Volumes are labelled once: another mapping would take them from their owners
    CHECK(text_of(label_of(Labelled::Volume, 0)) == "system_u:object_r:joblet_volume_t:s0:c0,c1");
    CHECK(text_of(label_of(Labelled::Image, 1000)) == "system_u:object_r:joblet_image_t:s0:c10,c45");
    CHECK(text_of(label_of(Labelled::Scratch, 20001)) == "system_u:object_r:joblet_scratch_t:s0:c101,c200");
    CHECK(text_of(label_of(Labelled::Job, 20002)) == "system_u:system_r:joblet_job_t:s0:c102,c200");
    CHECK(text_of(label_of(Labelled::SystemJob, kCategoryPairs - 1)) == "system_u:system_r:joblet_sysjob_t:s0:c1022,c1023");
}

TEST_CASE("every label ends before its array does, and its length is none of a capability or an access list") {
    for (const auto what : {Labelled::Volume, Labelled::Image, Labelled::Scratch, Labelled::Job, Labelled::SystemJob}) {
        const Label label = label_of(what, kCategoryPairs - 1);
        CHECK(label.back() == '\0');
        CHECK(text_of(label).ends_with(":s0:c1022,c1023"));
    }
    CHECK(kLabelBytes > 24);     // XATTR_CAPS_SZ_3
    CHECK(kLabelBytes % 8 != 4); // a header of four bytes and entries of eight
}
