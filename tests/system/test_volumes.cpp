// Named volumes: made, shown, filled up to their limit, removed.
#include <doctest/doctest.h>

#include <csignal>

#include <algorithm>
#include <regex>
#include <set>

#include "tests/system/installation.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("volumes");

TEST_CASE("a volume is shown with exactly the keys that scripts rely on") {
    const Installation here;
    CHECK(here.json_of({"volume", "list"}) == json::array());
    here.create("data", "10MB");
    here.create("scratch", "4MiB", "memory");
    const json list = here.json_of({"volume", "list"});
    REQUIRE(list.size() == 2);
    const std::set<std::string> keys = {"id",        "name",           "type",          "size_bytes",      "status",      "created_at",
                                        "last_used", "current_job_id", "labels",        "owner",           "backend",     "enforcement",
                                        "inodes",    "protected",      "trashed_until", "soft_size_bytes", "soft_inodes", "io",
                                        "no_swap"};
    for (const json& volume : list) {
        std::set<std::string> got;
        for (const auto& [key, value] : volume.items()) {
            got.insert(key);
        }
        CHECK(got == keys);
        CHECK(volume["status"] == "available");
        CHECK(volume["enforcement"] == "kernel");
        CHECK(volume["labels"] == json::object());
        CHECK(volume["owner"] == 0);
        CHECK(volume["last_used"].is_null());
        CHECK(volume["current_job_id"].is_null());
        CHECK(std::regex_match(volume["created_at"].get<std::string>(), std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")));
        CHECK(std::regex_match(volume["id"].get<std::string>(), std::regex("[0-9a-f]{32}")));
    }
    CHECK(list[0]["name"] == "data");
    CHECK(list[0]["type"] == "filesystem");
    CHECK(list[0]["backend"] == "image");
    CHECK(list[0]["size_bytes"] == 10 * 1024 * 1024);
    CHECK(list[1]["type"] == "memory");
    CHECK(list[1]["backend"] == "tmpfs");
    CHECK(here.json_of({"volume", "inspect", "data"}) == list[0]);
}

TEST_CASE("table, json and yaml tell the same") {
    const Installation here;
    here.create("data", "1MiB");
    const auto table = here.run_rnx({"volume", "list"});
    CHECK(table.status == 0);
    CHECK(table.out.find("data") != std::string::npos);
    CHECK(table.out.find("1.0 MiB") != std::string::npos);
    const auto yaml = here.run_rnx({"volume", "list", "--format", "yaml"});
    CHECK(yaml.out.find("size_bytes: 1048576") != std::string::npos);
    CHECK(here.run_rnx({"volume", "inspect", "data", "--format", "yaml"}).out.find("enforcement: \"kernel\"") != std::string::npos);
    CHECK(here.run_rnx({"volume", "remove", "data"}).status == 0);
    CHECK(here.run_rnx({"volume", "list", "--format", "yaml"}).out == "[]\n");
    CHECK(here.run_rnx({"volume", "list", "--format", "json"}).out == "[]\n");
}

TEST_CASE("usable space is at least what was asked, from 1 MiB up, and the kernel stops what goes beyond") {
    const Installation here;
    for (const auto& [size, mib] :
         {std::pair{"1MiB", 1}, std::pair{"2MB", 2}, std::pair{"5MB", 5}, std::pair{"33MiB", 33}, std::pair{"64MB", 64}}) {
        CAPTURE(size);
        const std::string name = std::string("v") + std::to_string(mib);
        here.create(name, size);
        // one MiB at a time until it is full; the last number printed is how many whole ones fitted
        const auto filled = here.shell(
            {"-v", name + ":/data"},
            "n=0; while dd if=/dev/zero of=/data/$n bs=1M count=1 2>/data/err; do n=$((n+1)); [ $n -lt 200 ] || break; done; echo $n");
        REQUIRE_MESSAGE(filled.status == 0, filled.err);
        const int fitted = std::stoi(filled.out);
        CHECK(fitted >= mib - 1); // the error file and directory blocks take a little
        CHECK(fitted <= mib + mib / 4 + 1);
        // one file of exactly the size asked for
        const auto one =
            here.shell({"-v", name + ":/data"}, "rm -f /data/*; dd if=/dev/zero of=/data/one bs=1024 count=" + std::to_string(mib * 1024) +
                                                    " && stat -c %s /data/one");
        CHECK_MESSAGE(one.status == 0, one.err);
        CHECK(one.out == std::to_string(mib * 1024 * 1024) + "\n");
    }
}

TEST_CASE("a memory volume is held to its size as well, and so is /work, always, to 1 MiB") {
    const Installation here;
    here.create("mem", "2MiB", "memory");
    const auto filled = here.shell(
        {"-v", "mem:/m"},
        "dd if=/dev/zero of=/m/x bs=1k count=4096; stat -c %s /m/x; dd if=/dev/zero of=/work/x bs=1k count=4096; stat -c %s /work/x");
    CHECK(filled.out == "2097152\n1048576\n");
    CHECK(filled.err.find("No space left on device") != std::string::npos);
}

TEST_CASE("what is in a filesystem volume stays, what is in a memory volume goes with its job") {
    const Installation here;
    here.create("data");
    here.create("mem", "1MiB", "memory");
    REQUIRE(here.shell({"-v", "data:/data", "-v", "mem"}, "echo kept >/data/f; echo gone >/volumes/mem/f; cat /volumes/data/f").out ==
            "kept\n");
    // at once, without waiting for anything: whoever has seen a job end may use its volumes
    for (int i = 0; i < 5; ++i) {
        const auto next = here.shell({"-v", "data:/data", "-v", "mem"}, "cat /data/f; ls /volumes/mem | wc -l");
        CHECK_MESSAGE(next.out == "kept\n0\n", next.err);
    }
}

TEST_CASE("the same volume twice is the same volume, a different one of that name a conflict") {
    const Installation here;
    here.create("data", "2MiB");
    const json before = here.json_of({"volume", "inspect", "data"});
    CHECK(here.run_rnx({"volume", "create", "data", "--size=2097152"}).status == 0);
    CHECK(here.json_of({"volume", "inspect", "data"}) == before);
    const auto larger = here.run_rnx({"volume", "create", "data", "--size=3MiB"});
    CHECK(larger.status == 1);
    CHECK(larger.err.find("size") != std::string::npos);
    CHECK(here.run_rnx({"volume", "create", "data", "--size=2MiB", "--type=memory"}).status == 1);
    CHECK(here.json_of({"volume", "list"}) == json::array({before}));
}

TEST_CASE("a volume in use is not removed, and is shown with its job") {
    const Installation here;
    here.create("data");
    Process job(here.shell_command({"-v", "data:/data"}, "echo started; sleep 30"));
    REQUIRE(job.wait_for_output("started"));
    const json volume = here.json_of({"volume", "inspect", "data"});
    CHECK(volume["status"] == "in_use");
    CHECK(volume["current_job_id"].get<std::string>().size() == 32);
    const auto removed = here.run_rnx({"volume", "remove", "data"});
    CHECK(removed.status == 1);
    CHECK(removed.err.find(volume["current_job_id"].get<std::string>()) != std::string::npos);
    // a second writer is refused, and so is a reader beside a writer
    CHECK(here.shell({"-v", "data"}, "true").status == 125);
    CHECK(here.shell({"-v", "data:ro"}, "true").status == 125);
    job.signal(SIGTERM);
    CHECK(job.wait().status == 143);
    CHECK(here.run_rnx({"volume", "remove", "data"}).status == 0);
}

TEST_CASE("any number of jobs may read a volume at once, and none of them can write to it") {
    const Installation here;
    here.create("data");
    REQUIRE(here.shell({"-v", "data:/data"}, "echo text >/data/f").status == 0);
    Process first(here.shell_command({"-v", "data:/data:ro"}, "cat /data/f; sleep 30"));
    REQUIRE(first.wait_for_output("text"));
    const auto second = here.shell({"-v", "data:/data:ro"}, "cat /data/f; echo x >/data/g");
    CHECK(second.out == "text\n");
    CHECK(second.err.find("Read-only file system") != std::string::npos);
    CHECK(second.status != 0);
    CHECK(here.shell({"-v", "data:/data"}, "true").status == 125);
    first.signal(SIGTERM);
    CHECK(first.wait().status == 143);
    CHECK(here.shell({"-v", "data:/data"}, "echo x >/data/g").status == 0);
}

TEST_CASE("removing leaves nothing of a volume on disk") {
    const Installation here;
    here.create("data", "8MiB");
    const std::string id = here.json_of({"volume", "inspect", "data"})["id"];
    CHECK(run({{"/usr/bin/stat", here.state() + "/volumes/" + id + "/image"}}).status == 0);
    const auto image = run({{"/usr/bin/stat", "-c", "%b %B %U %a", here.state() + "/volumes/" + id + "/image"}});
    CHECK(image.out.find(" root 600") != std::string::npos); // taken back from whoever made the file system
    CHECK(here.run_rnx({"volume", "remove", "data"}).status == 0);
    CHECK(becomes_true([&here] {
        return run({{"/usr/bin/find", here.state() + "/volumes", here.state() + "/trash", here.state() + "/staging", "-mindepth", "1"}})
            .out.empty();
    }));
}

TEST_CASE("the owner on disk of what a job makes is of the foreign range, never an id of the host") {
    const Installation here;
    here.create("data");
    REQUIRE(here.shell({"-v", "data:/data"}, "touch /data/f").status == 0);
    REQUIRE(becomes_true([&here] { return here.loops().empty(); })); // written back when it is unmounted
    const std::string id = here.json_of({"volume", "inspect", "data"})["id"];
    const auto owner = run({{"/usr/sbin/debugfs", "-R", "stat /f", here.state() + "/volumes/" + id + "/image"}});
    CHECK_MESSAGE(std::regex_search(owner.out, std::regex("User: *2147352576 +Group: *2147352576")), owner.out);
}

TEST_SUITE_END();

} // namespace joblet::testing
