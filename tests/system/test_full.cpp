// A store without room, at each step; and records that this version cannot read.
#include <doctest/doctest.h>

#include <csignal>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("full");

namespace {

namespace fs = std::filesystem;

Installation::Options on_tmpfs(const std::string& options) {
    Installation::Options out;
    out.store = {StoreMount::Kind::Tmpfs, options};
    return out;
}

bool is_out_of_space(const Outcome& outcome) {
    return outcome.status == 1 && outcome.err.find("no room") != std::string::npos;
}

void check_nothing_is_left(const Installation& here) {
    CHECK(here.json_of({"volume", "list"}).empty());
    CHECK(becomes_true([&here] { return fs::is_empty(here.state() + "/staging") && fs::is_empty(here.state() + "/trash"); }));
    CHECK(fs::is_empty(here.state() + "/volumes"));
    CHECK(here.loops().empty());
}

// Bytes that the store can still take.
std::uintmax_t room(const Installation& here) {
    return fs::space(here.state()).available;
}

// Leaves exactly so much.
void fill_up_to(const Installation& here, std::uintmax_t bytes) {
    const std::string filler = here.state() + "/api/filler";
    fs::remove(filler);
    const auto size = room(here) - bytes;
    REQUIRE(run({{"/usr/bin/fallocate", "-l", std::to_string(size), filler}}).status == 0);
}

} // namespace

TEST_CASE("a create that finds no room for bytes, at whichever step, changes nothing and loses nothing") {
    const Installation here(on_tmpfs("size=64M"));
    here.create("kept", "1MiB");
    REQUIRE(here.shell({"-v", "kept:/data"}, "echo kept >/data/f").status == 0);
    const auto before = room(here);
    here.create("probe", "4MiB");
    const auto needed = before - room(here);
    REQUIRE(here.run_rnx({"volume", "remove", "probe"}).status == 0);
    REQUIRE(becomes_true([&here] { return fs::is_empty(here.state() + "/trash"); }));
    constexpr std::uintmax_t kPage = 4096;
    constexpr std::uintmax_t kBelow = 10 * kPage;
    int refused = 0;
    bool made = false;
    for (std::uintmax_t pages = 0; pages < 24 && !made; ++pages) {
        CAPTURE(pages);
        fill_up_to(here, needed - std::min(needed, kBelow) + pages * kPage);
        const auto outcome = here.run_rnx({"volume", "create", "data", "--size=4MiB", "--label=k=v"});
        made = outcome.status == 0;
        if (!made) {
            ++refused;
            CHECK_MESSAGE(is_out_of_space(outcome), outcome.err);
            CHECK(here.json_of({"volume", "list"}).size() == 1);
            CHECK(fs::is_empty(here.state() + "/staging"));
        }
    }
    CHECK(made);
    CHECK(refused >= 3);
    fs::remove(here.state() + "/api/filler");
    CHECK(here.shell({"-v", "data:/data", "-v", "kept:/kept"}, "dd if=/dev/zero of=/data/f bs=1M count=4 2>/dev/null && cat /kept/f").out ==
          "kept\n");
}

TEST_CASE("a create that finds no room for inodes, at whichever step, changes nothing") {
    const Installation here(on_tmpfs("size=64M,nr_inodes=400"));
    const auto fillers = here.state() + "/api/fillers";
    fs::create_directory(fillers);
    int count = 0;
    // until nothing fits any more
    for (std::ofstream file(fmt::format("{}/{}", fillers, count)); file; file = std::ofstream(fmt::format("{}/{}", fillers, count))) {
        ++count;
    }
    REQUIRE(count > 10);
    int refused = 0;
    bool made = false;
    while (!made && refused < 20) {
        CAPTURE(refused);
        const auto outcome = here.run_rnx({"volume", "create", "data", "--size=4MiB", "--label=k=v"});
        made = outcome.status == 0;
        if (!made) {
            ++refused;
            CHECK_MESSAGE(is_out_of_space(outcome), outcome.err);
            check_nothing_is_left(here);
            fs::remove(fmt::format("{}/{}", fillers, --count));
        }
    }
    CHECK(made);
    CHECK(refused >= 4); // the directory, the image, the labels, the record
    CHECK(here.shell({"-v", "data:/data"}, "touch /data/f").status == 0);
}

TEST_CASE("changes that find no room are refused, and what was is still there, on disk too") {
    const Installation here(on_tmpfs("size=32M"));
    REQUIRE(here.run_rnx({"volume", "create", "data", "--size=1MiB", "--label=k=v"}).status == 0);
    here.create("memory", "1MiB", "memory");
    const json before = here.json_of({"volume", "list"});
    fill_up_to(here, 0);
    CHECK(is_out_of_space(here.run_rnx({"volume", "label", "data", "k=w"})));
    CHECK(is_out_of_space(here.run_rnx({"volume", "rename", "data", "other"})));
    CHECK(is_out_of_space(here.run_rnx({"volume", "protect", "data"})));
    CHECK(here.json_of({"volume", "list"}) == before);
    CHECK(here.shell({"-v", "data"}, "true").status == 0); // that needs no room there
    CHECK(here.run_rnx({"volume", "remove", "memory"}).status == 0);
    here.kill_daemons("joblet-broker");
    const json after = here.json_of({"volume", "list"});
    REQUIRE(after.size() == 1);
    CHECK(after[0]["name"] == "data");
    CHECK(after[0]["labels"] == json{{"k", "v"}});
    // room is made by removing
    CHECK(here.run_rnx({"volume", "remove", "data"}).status == 0);
}

TEST_CASE("a record from a newer version is left as it is, and everything else goes on") {
    Installation here;
    here.create("data");
    here.create("other");
    const std::string id = here.json_of({"volume", "inspect", "data"})["id"];
    CHECK(here.stop() == 0);
    const std::string path = here.state() + "/volumes/" + id + "/record";
    std::string record = read_file(path);
    record[8] = 2; // the version, little-endian, after the magic
    write_file(path, record);
    here.start();
    const json list = here.json_of({"volume", "list"});
    REQUIRE(list.size() == 1);
    CHECK(list[0]["name"] == "other");
    CHECK(here.log().find(id) != std::string::npos);
    CHECK(here.shell({"-v", "other"}, "true").status == 0);
    CHECK(here.run_rnx({"volume", "remove", id}).status == 1);
    here.create("data", "2MiB"); // the name is nobody's as far as this version can know
    CHECK(here.stop() == 0);
    CHECK(read_file(path) == record);
    CHECK(fs::exists(here.state() + "/volumes/" + id + "/image"));
    here.start();
    CHECK(here.json_of({"volume", "list"}).size() == 2);
}

TEST_CASE("damaged labels cost the labels, not the volume") {
    Installation here;
    REQUIRE(here.run_rnx({"volume", "create", "data", "--size=1MiB", "--label=k=v"}).status == 0);
    const std::string id = here.json_of({"volume", "inspect", "data"})["id"];
    CHECK(here.stop() == 0);
    write_file(here.state() + "/volumes/" + id + "/labels", "nonsense");
    here.start();
    const json volume = here.json_of({"volume", "inspect", "data"});
    CHECK(volume["labels"] == json::object());
    CHECK(volume["status"] == "available");
    CHECK(here.run_rnx({"volume", "label", "data", "k=w"}).status == 0);
    here.kill_daemons("joblet-broker");
    CHECK(here.json_of({"volume", "inspect", "data"})["labels"] == json{{"k", "w"}});
}

TEST_SUITE_END();

} // namespace joblet::testing
