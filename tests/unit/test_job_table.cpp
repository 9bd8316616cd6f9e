#include <doctest/doctest.h>

#include "api-unpriv/jobs/request.h"
#include "api-unpriv/jobs/table.h"

using namespace joblet;
using namespace joblet::api;

namespace {

constexpr std::uint32_t kAlice = 1000;
constexpr std::uint32_t kBob = 1001;

} // namespace

TEST_CASE("jobs are listed newest first, page by page, and the oldest ended one is known") {
    JobTable table;
    for (std::uint8_t i = 1; i <= 5; ++i) {
        Job job;
        job.id.bytes.front() = i;
        job.owner_uid = i == 5 ? kBob : kAlice;
        job.started_ns = std::int64_t{i} * 10;
        job.state = i == 2 ? protocol::JobState::Running : protocol::JobState::Ended;
        job.name = i == 3 ? "three" : "";
        table.put(job);
    }
    JobQuery query;
    query.scope = {Scope::Kind::Own, kAlice};
    query.page_size = 3;
    auto page = table.list(query);
    REQUIRE(page->jobs.size() == 3);
    CHECK(page->jobs.front()->started_ns == 40);
    CHECK(page->matching == 4);
    query.after = page->next;
    page = table.list(query);
    REQUIRE(page->jobs.size() == 1);
    CHECK(page->jobs.front()->started_ns == 10);
    CHECK(page->next.empty());
    CHECK(table.ended_count(kAlice) == 3);
    CHECK(table.ended_count(std::nullopt) == 4);
    CHECK(table.oldest_ended(kAlice)->started_ns == 10);
    table.erase(table.oldest_ended(kAlice)->id);
    CHECK(table.oldest_ended(kAlice)->started_ns == 30);
    CHECK(table.resolve("three", query.scope).size() == 1);
    CHECK(table.resolve("05000000", query.scope).empty());
    query.after = std::string("nonsense");
    CHECK_FALSE(table.list(query));
}

TEST_CASE("every job that is alive and has a volume is known to hold it") {
    JobTable table;
    const auto volume = make_random_id<VolumeId>();
    for (std::uint8_t i = 1; i <= 4; ++i) {
        Job job;
        job.id.bytes.front() = i;
        job.state = i == 1 ? protocol::JobState::Ended : i == 2 ? protocol::JobState::Starting : protocol::JobState::Running;
        job.volumes = {{make_random_id<VolumeId>(), "other", "", false}};
        if (i != 4) {
            job.volumes.push_back({volume, "data", "", false});
        }
        table.put(job);
    }
    const auto holding = table.holding(volume);
    REQUIRE(holding.size() == 2);
    CHECK(holding[0].bytes.front() == 2);
    CHECK(holding[1].bytes.front() == 3);
}

TEST_CASE("a job's environment has defaults, and what is given last counts") {
    const auto environment = environment_of("host1", {"A=1", "HOME=/data", "A=2"});
    CHECK(environment == std::vector<std::string>{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/data",
                                                  "HOSTNAME=host1", "A=2"});
    CHECK(environment_of("", {}).size() == 2);
}

TEST_CASE("history keeps whole arguments up to its bound") {
    const std::string half(kCommandKept / 2, 'x');
    CHECK(kept_command({"a", half, half, "b"}) == std::vector<std::string>{"a", half});
}
