// The words of rnx audit.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "cli/arguments.h"
#include "tests/unit/cli_words.h"

using namespace joblet;
using namespace joblet::cli;

namespace {

constexpr std::string_view kWholeId = "06365ce2f6010123456789abcdef0123";

// Seconds since 1970 of "2026-11-26T07:00:00".
std::int64_t seconds_of(const std::string& time) {
    int year = 0;
    unsigned month = 0;
    unsigned day = 0;
    int hour = 0;
    int minute = 0;
    int second = 0;
    REQUIRE(std::sscanf(time.c_str(), "%4d-%2u-%2uT%2d:%2d:%2d", &year, &month, &day, &hour, &minute, &second) == 6);
    const std::chrono::sys_days date = std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day);
    return std::chrono::sys_seconds(date + std::chrono::hours(hour) + std::chrono::minutes(minute) + std::chrono::seconds(second))
        .time_since_epoch()
        .count();
}

} // namespace

TEST_CASE("audit verify takes files in their order, and a key") {
    const auto own = taken<AuditVerify>({"audit", "verify"});
    CHECK((own.files.empty() && own.public_key.empty()));
    const auto copy = taken<AuditVerify>({"audit", "verify", "b.jsonl", "--public-key=host7.pub", "a.jsonl"});
    CHECK(copy.files == std::vector<std::string>{"b.jsonl", "a.jsonl"});
    CHECK(copy.public_key == "host7.pub");
}

TEST_CASE("audit list takes what is looked for") {
    const auto any = taken<AuditList>({"audit", "list"});
    CHECK((any.files.empty() && any.volume.empty() && any.job.empty() && any.since.empty()));
    CHECK_FALSE(any.uid);
    const auto some = taken<AuditList>({"audit", "ls", "--volume=06365ce2", "--job", std::string(kWholeId), "--user=0", "copy.jsonl"});
    CHECK(some.volume == "06365ce2");
    CHECK(some.job == kWholeId);
    CHECK(some.uid == 0U);
    CHECK(some.files == std::vector<std::string>{"copy.jsonl"});
    CHECK(taken<AuditList>({"audit", "list", "--user=4294967294"}).uid == 4294967294U);
}

TEST_CASE("since is a time, its beginning, or how long ago") {
    for (const std::string time : {"2026-11-26", "2026-11-26T07", "2026-11-26T07:00:00", "2026-11-26T07:00:00.123456Z"}) {
        CHECK(taken<AuditList>({"audit", "list", "--since=" + time}).since == time);
    }
    const auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    constexpr std::int64_t kDay = 86400;
    const auto ago = now - seconds_of(taken<AuditList>({"audit", "list", "--since=2d"}).since);
    CHECK(ago >= 2 * kDay - 60);
    CHECK(ago <= 2 * kDay + 60);
}

TEST_CASE("what no record can have is refused, with what is meant") {
    check_refused({
        {{"audit"}, "", "rnx audit"},
        {{"audit", "list", "--volume=data"}, "the volume \"data\" is not an id", "ids, not names"},
        {{"audit", "list", "--volume=06365ce"}, "is not an id", "8 to 32 digits"},
        {{"audit", "list", "--volume=06365CE2"}, "is not an id", "8 to 32 digits"},
        {{"audit", "list", "--job=" + std::string(kWholeId) + "0"}, "the job", "8 to 32 digits"},
        {{"audit", "list", "--user=root"}, "the user \"root\" is not a uid", "id -u"},
        {{"audit", "list", "--user=-1"}, "\"-1\" is not a uid", "id -u"},
        {{"audit", "list", "--user=4294967296"}, "\"4294967296\" is not a uid", "id -u"},
        {{"audit", "list", "--user="}, "--user needs a value", "usage: rnx audit list"},
        {{"audit", "list", "--since=yesterday"}, "the time \"yesterday\" is not valid", "2026-11-26"},
        {{"audit", "list", "--since=2026-11"}, "is not valid", "2026-11-26"},
        {{"audit", "list", "--since=2026-11-26 07:00"}, "is not valid", "2026-11-26"},
        {{"audit", "list", "--since=2026-11-26T07:00:00.123456Z1"}, "is not valid", "2026-11-26"},
        {{"audit", "verify", "--since=1h"}, "--since", ""},
    });
}
