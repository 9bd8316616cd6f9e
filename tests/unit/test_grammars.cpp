// Names, targets, sizes and ids: every form that is taken, and every malformed one that is not.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "shared/duration.h"
#include "shared/id.h"
#include "shared/name.h"
#include "shared/size.h"

using namespace joblet;

TEST_CASE("case_33: names are 1 to 63 characters of the grammar") {
    for (const auto& good : std::vector<std::string>{"a", "0", "data", "a.b-c_d", "A9", std::string(63, 'x')}) {
        CAPTURE(good);
        CHECK(is_valid_name(good));
    }
    for (const auto& bad : std::vector<std::string>{"", ".", "..", "-a", "_a", ".a", "a/b", "/a", "a b", "a\n", "ä", "a:b", "@system",
                                                    std::string(64, 'x')}) {
        CAPTURE(bad);
        CHECK_FALSE(is_valid_name(bad));
    }
    CHECK_FALSE(is_valid_name(std::string_view("a\0b", 3)));
}

TEST_CASE("targets are absolute, normal and printable") {
    for (const char* good : {"/data", "/a/b/c", "/a.b", "/..a", "/a..", "/data:x"}) {
        CAPTURE(good);
        CHECK(is_valid_target(good));
    }
    for (const char* bad :
         {"", "/", "data", "//", "/a/", "/a//b", "/.", "/..", "/a/../b", "/a/./b", "/a/..", "/a b", "/a\tb", "/\x7f", "/ä"}) {
        CAPTURE(bad);
        CHECK_FALSE(is_valid_target(bad));
    }
    CHECK(is_valid_target("/" + std::string(kTargetMax - 1, 'x')));
    CHECK_FALSE(is_valid_target("/" + std::string(kTargetMax, 'x')));
}

TEST_CASE("a target may not be, or lie below, a directory of the job or its base") {
    for (const char* reserved : {"/proc", "/proc/1", "/sys", "/dev/null", "/volumes", "/volumes/x", "/work", "/work/a", "/tmp/x", "/bin",
                                 "/sbin", "/lib", "/lib64", "/usr/local", "/etc/passwd"}) {
        CAPTURE(reserved);
        CHECK(reserved_by(reserved).has_value());
    }
    for (const char* open : {"/data", "/process", "/workshop", "/libs", "/lib32", "/home/me", "/opt", "/etcetera"}) {
        CAPTURE(open);
        CHECK_FALSE(reserved_by(open).has_value());
    }
}

TEST_CASE("targets overlap if one contains the other") {
    CHECK(targets_overlap("/a", "/a"));
    CHECK(targets_overlap("/a", "/a/b"));
    CHECK(targets_overlap("/a/b", "/a"));
    CHECK_FALSE(targets_overlap("/a", "/ab"));
    CHECK_FALSE(targets_overlap("/a/b", "/a/c"));
}

TEST_CASE("sizes are read as people write them, in powers of 1024") {
    struct Row {
        const char* text;
        std::uint64_t bytes;
    };
    for (const auto& [text, bytes] :
         {Row{"512", 512}, Row{"1", 1}, Row{"10KB", 10 * kKiB}, Row{"10kb", 10 * kKiB}, Row{"10K", 10 * kKiB}, Row{"10Ki", 10 * kKiB},
          Row{"10KiB", 10 * kKiB}, Row{"5MB", 5 * kMiB}, Row{"100Mi", 100 * kMiB}, Row{"1GB", kGiB}, Row{"2Gi", 2 * kGiB},
          Row{"1.5GiB", kGiB + kGiB / 2}, Row{"1T", kTiB}, Row{"0.5KB", 512}, Row{"1.50K", 1536}, Row{"7b", 7},
          Row{"9223372036854775807", (std::uint64_t{1} << 63U) - 1}, Row{"1.0", 1}, Row{"00001", 1}}) {
        CAPTURE(text);
        REQUIRE(parse_size(text).has_value());
        CHECK(*parse_size(text) == bytes);
    }
}

TEST_CASE("malformed sizes are refused, each for its reason") {
    struct Row {
        const char* text;
        SizeError error;
    };
    for (const auto& [text, error] : {Row{"", SizeError::Empty},
                                      Row{"KB", SizeError::NotANumber},
                                      Row{"-1", SizeError::NotANumber},
                                      Row{"+1", SizeError::NotANumber},
                                      Row{" 1", SizeError::NotANumber},
                                      Row{".5K", SizeError::NotANumber},
                                      Row{"1.", SizeError::NotANumber},
                                      Row{"1.K", SizeError::NotANumber},
                                      Row{"1 KB", SizeError::UnknownUnit},
                                      Row{"1X", SizeError::UnknownUnit},
                                      Row{"1KBB", SizeError::UnknownUnit},
                                      Row{"1e3", SizeError::UnknownUnit},
                                      Row{"0x10", SizeError::UnknownUnit},
                                      Row{"1,5K", SizeError::UnknownUnit},
                                      Row{"1.5", SizeError::NotWhole},
                                      Row{"0.0001K", SizeError::NotWhole},
                                      Row{"0", SizeError::Zero},
                                      Row{"0GB", SizeError::Zero},
                                      Row{"0.0K", SizeError::Zero},
                                      Row{"9223372036854775808", SizeError::Overflow},
                                      Row{"8388608T", SizeError::Overflow},
                                      Row{"99999999999999999999999999999999", SizeError::Overflow},
                                      Row{"50%", SizeError::UnknownUnit}}) {
        CAPTURE(text);
        REQUIRE_FALSE(parse_size(text).has_value());
        CHECK(parse_size(text).error() == error);
    }
}

TEST_CASE("sizes are shown in the unit that reads best") {
    CHECK(format_size(0) == "0 B");
    CHECK(format_size(1023) == "1023 B");
    CHECK(format_size(1024) == "1.0 KiB");
    CHECK(format_size(kMiB - 1) == "1.0 MiB");
    CHECK(format_size(kGiB + kGiB / 2) == "1.5 GiB");
    CHECK(format_size(~std::uint64_t{0}) == "16.0 EiB");
}

TEST_CASE("ids are 32 lower-case digits and come back") {
    const auto id = make_random_id<VolumeId>();
    CHECK_FALSE(id.is_none());
    CHECK(to_string(id).size() == kIdHexLength);
    CHECK(parse_id<VolumeId>(to_string(id)) == id);
    for (const char* bad :
         {"", "0", "0123456789abcdef0123456789abcdeg", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef0"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_id<VolumeId>(bad).has_value());
    }
    CHECK(make_random_id<JobId>() != make_random_id<JobId>());
}

TEST_CASE("a duration is one whole number and one unit, and comes back as it was written") {
    using std::chrono::seconds;
    struct Row {
        const char* text;
        std::int64_t value;
    };
    for (const auto& [text, value] : {Row{"0", 0}, Row{"1s", 1}, Row{"90s", 90}, Row{"10m", 600}, Row{"24h", 86400}, Row{"7d", 604800},
                                      Row{"36500d", 3153600000}, Row{"0s", 0}}) {
        CAPTURE(text);
        REQUIRE(joblet::parse_duration(text).has_value());
        CHECK(joblet::parse_duration(text)->count() == value);
        CHECK(joblet::parse_duration(joblet::format_duration(seconds(value))) == seconds(value));
    }
    for (const char* const text : {"", "s", "5", "5 s", " 5s", "+5s", "-5s", "1.5h", "5S", "5ms", "1h30m", "36501d", "3153600001s",
                                   "18446744073709551616s", "18446744073709551615d", "5s "}) {
        CAPTURE(text);
        CHECK_FALSE(joblet::parse_duration(text).has_value());
    }
    CHECK(joblet::format_duration(seconds(86400)) == "1d");
    CHECK(joblet::format_duration(seconds(90)) == "90s");
}
