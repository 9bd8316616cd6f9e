// Many volumes: what a start reads, and what lists and filters give. 5,000 here, and 100,000 with --long.
#include <doctest/doctest.h>

#include <csignal>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "broker-root/worker/labels.h"
#include "broker-root/worker/record.h"
#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("scale");

namespace {

void put(const std::string& path, std::span<const std::byte> bytes) {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    REQUIRE(::write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

// Memory volumes as a worker would have left them, named m000000 and so on; each tenth has the label tenth=yes.
void write_records(const std::string& store, int count) {
    const std::string blob("tenth\0yes\0", 10);
    worker::SizedLabels labels;
    labels.size = static_cast<std::uint32_t>(blob.size());
    std::ranges::copy(blob, labels.bytes.begin());
    for (int i = 0; i < count; ++i) {
        worker::VolumeRecord record;
        record.magic = worker::kVolumeRecordMagic;
        record.version = worker::kVolumeRecordVersion;
        record.size = sizeof record;
        record.id = make_random_id<VolumeId>();
        record.name = NameText(fmt::format("m{:06}", i));
        record.size_bytes = std::uint64_t{1} << 20U;
        record.generation = 1;
        record.created_ns = 1'000'000'000LL + i;
        record.owner_uid = kAlice;
        record.type = protocol::VolumeType::Memory;
        record.backend = protocol::Backend::Tmpfs;
        worker::seal(record);
        const std::string directory = store + "/volumes/" + to_string(record.id);
        REQUIRE(::mkdir(directory.c_str(), 0700) == 0);
        put(directory + "/record", std::as_bytes(std::span(&record, 1)));
        if (i % 10 == 0) {
            put(directory + "/labels", worker::sealed_labels(record.id, labels));
        }
    }
}

double seconds_of(const std::function<void()>& what) {
    const auto start = std::chrono::steady_clock::now();
    what();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

} // namespace

TEST_CASE("with many volumes a start reads every record, and lists are complete, sorted and filtered") {
    REQUIRE(worker::start_checksums());
    const bool is_long = std::getenv("JOBLET_TEST_LONG") != nullptr;
    const int count = is_long ? 100'000 : 5'000;
    Installation here;
    CHECK(here.stop() == 0);
    write_records(here.state(), count);

    const double first = seconds_of([&here] { here.start(); });
    json all;
    const double listed = seconds_of([&] { all = here.json_of({"volume", "list"}, kAlice); });
    REQUIRE(all.size() == static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        if (all[static_cast<std::size_t>(i)]["name"] != fmt::format("m{:06}", i)) {
            FAIL_CHECK("not sorted at ", i);
            break;
        }
    }
    json tenth;
    const double filtered = seconds_of([&] { tenth = here.json_of({"volume", "list", "--filter", "tenth=yes"}, kAlice); });
    CHECK(tenth.size() == static_cast<std::size_t>(count / 10));
    CHECK(here.json_of({"volume", "list", "--filter", "tenth=no"}, kAlice).empty());
    CHECK(here.json_of({"volume", "list", "--type", "filesystem"}, kAlice).empty());
    CHECK(here.json_of({"volume", "list"}, kBob).empty());
    CHECK(here.shell({"-v", "m000007"}, "true", kAlice).status == 0);

    // from now on the API's database knows them, too
    double again = 0;
    for (const char* const daemon : {"joblet-api", "joblet-broker"}) {
        again = seconds_of([&] { here.kill_daemons(daemon); });
        CHECK(here.json_of({"volume", "list"}, kAlice).size() == static_cast<std::size_t>(count));
    }
    MESSAGE(count, " volumes: first start ", first, " s, broker and api started anew ", again, " s, whole list as JSON ", listed,
            " s, a tenth of it by label ", filtered, " s");
    const auto removed = here.run_rnx({"volume", "remove", "m000001", "m000002"}, kAlice);
    CHECK(removed.status == 0);
    CHECK(here.json_of({"volume", "list"}, kAlice).size() == static_cast<std::size_t>(count - 2));
}

TEST_SUITE_END();

} // namespace joblet::testing
