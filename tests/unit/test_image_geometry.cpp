// The sums of an image's geometry. That ext4 agrees is checked where volumes are made, by the worker for each of them.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "broker-root/worker/image_geometry.h"

using namespace joblet::worker;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
constexpr std::uint64_t kGiB = kMiB << 10U;
constexpr std::uint64_t kTiB = kGiB << 10U;

std::vector<std::string> arguments_for(std::uint64_t size, std::uint64_t inodes) {
    VolumeRecord record;
    record.size_bytes = size;
    record.inodes = inodes;
    record.image_bytes = image_bytes_for(size, inodes);
    return mkfs_arguments(record);
}

std::uint64_t number_after(const std::vector<std::string>& words, const std::string& option) {
    const auto at = std::ranges::find(words, option);
    REQUIRE(at != words.end());
    return std::stoull(*(at + 1));
}

constexpr auto kSizes = std::to_array<std::uint64_t>({kMiB, kMiB + 1, 3 * kMiB, 5 * kMiB + 123, 31 * kMiB, 32 * kMiB - 1, 32 * kMiB,
                                                      100 * kMiB, 255 * kMiB, kGiB, 5 * kGiB, 100 * kGiB, kTiB, 15 * kTiB});

} // namespace

TEST_CASE("an image has room for what was asked, its journal, its inodes and what ext4 keeps") {
    for (const std::uint64_t size : kSizes) {
        for (const std::uint64_t inodes : {0ULL, 1ULL, 1000ULL, 1000000ULL}) {
            CAPTURE(size);
            CAPTURE(inodes);
            const std::uint64_t image = image_bytes_for(size, inodes);
            const auto words = arguments_for(size, inodes);
            const std::uint64_t block = number_after(words, "-b");
            CHECK(block == (size < 32 * kMiB ? 1024 : 4096));
            CHECK(image % block == 0);
            CHECK(std::stoull(words.back()) == image / block);
            const std::uint64_t all_inodes = number_after(words, "-N");
            CHECK(all_inodes >= image_inodes_for(size, inodes) + 11);
            const std::uint64_t kept = std::min<std::uint64_t>(image / block / 50, 4096) * block;
            CHECK(image >= size + all_inodes * 256 + kept + kMiB);
        }
    }
}

TEST_CASE("small images have small overhead for their size, large ones two percent and the inodes") {
    CHECK(image_bytes_for(kMiB, 0) < kMiB * 5 / 2);
    CHECK(image_bytes_for(10 * kMiB, 0) < 12 * kMiB);
    CHECK(image_bytes_for(100 * kMiB, 0) < 109 * kMiB);
    CHECK(image_bytes_for(10 * kGiB, 0) < 10 * kGiB * 104 / 100);
    CHECK(image_bytes_for(kTiB, 0) < kTiB * 102 / 100);
}

TEST_CASE("a volume with many inodes gets no room for data with them") {
    for (const std::uint64_t size : {kMiB, 8 * kMiB, 32 * kMiB}) {
        constexpr std::uint64_t kInodes = 500000;
        CHECK(image_bytes_for(size, kInodes) < image_bytes_for(size, 1) + kInodes * 270);
    }
}

TEST_CASE("more is never less") {
    std::uint64_t last = 0;
    for (std::uint64_t size = kMiB; size < 70 * kMiB; size += 100 * 1024 + 1) {
        const std::uint64_t image = image_bytes_for(size, 0);
        CHECK(image >= last);
        last = image;
    }
    CHECK(image_bytes_for(kGiB, 1000) <= image_bytes_for(kGiB, 100000));
}

TEST_CASE("groups are whole: bitmap bytes, table blocks, at most one bitmap of blocks and of inodes") {
    for (const std::uint64_t size : kSizes) {
        for (const std::uint64_t inodes : {0ULL, 7ULL, 123456ULL}) {
            CAPTURE(size);
            CAPTURE(inodes);
            const auto words = arguments_for(size, inodes);
            const std::uint64_t block = number_after(words, "-b");
            const std::uint64_t group = number_after(words, "-g");
            const std::uint64_t first = block == 1024 ? 1 : 0;
            const std::uint64_t groups = (std::stoull(words.back()) - first + group - 1) / group;
            CHECK(group % 8 == 0);
            CHECK(group <= 8 * block);
            CHECK(number_after(words, "-N") % groups == 0);
            const std::uint64_t per_group = number_after(words, "-N") / groups;
            CHECK(per_group % std::max<std::uint64_t>(8, block / 256) == 0);
            CHECK(per_group <= 8 * block);
        }
    }
}

TEST_CASE("what ext4 cannot be is said") {
    CHECK(image_bytes_for(16 * kTiB, 0) == 0);
    CHECK(image_bytes_for(std::uint64_t{1} << 50U, 0) == 0);
    CHECK(image_bytes_for(kMiB, std::uint64_t{1} << 32U) == 0);
    CHECK(image_bytes_for(15 * kTiB, 0) != 0);
}

TEST_CASE("mke2fs keeps what was preallocated, and depends on no configuration") {
    const auto words = arguments_for(kGiB, 0);
    CHECK(words.front() == "/usr/sbin/mke2fs");
    CHECK(words[words.size() - 2] == "/proc/self/fd/0");
    const auto extended = std::ranges::find(words, "-E");
    REQUIRE(extended != words.end());
    CHECK((extended + 1)->starts_with("nodiscard,"));
    const auto features = std::ranges::find(words, "-O");
    REQUIRE(features != words.end());
    CHECK((features + 1)->starts_with("none,has_journal,"));
}

TEST_CASE("a resized image is larger than a new one by a sixteenth, as far as ext4 goes") {
    for (const std::uint64_t size : kSizes) {
        const std::uint64_t resized = resized_image_bytes_for(size, 0);
        constexpr std::uint64_t kMost = 0xFFFFFFFF * std::uint64_t{4096};
        CHECK(resized >= std::min(image_bytes_for(size, 0) + size / 16, kMost));
        CHECK(resized < image_bytes_for(size, 0) + size / 16 + 8192);
        CHECK(resized % 4096 == 0);
    }
    CHECK(resized_image_bytes_for(16 * kTiB, 0) == 0);
    CHECK(resized_image_bytes_for(kMiB, std::uint64_t{1} << 32U) == 0);
}
