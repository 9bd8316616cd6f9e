// Seeds that are text.
#include "tests/fuzz/seeds.h"

#include <fmt/format.h>

#include "api-unpriv/volumes/labels.h"

namespace joblet::fuzz {

namespace {

void add_all(Seeds seeds, std::initializer_list<std::string_view> texts) {
    int number = 0;
    for (const auto text : texts) {
        seeds.add(fmt::format("{:02}", number++), text);
    }
}

void add_labels(Seeds seeds) {
    const api::Labels labels = {{"app", "web"}, {"team/x", ""}, {"z", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"}};
    const auto blob = api::encode_labels(labels);
    seeds.add("blob", std::string(blob->begin(), blob->end()));
    seeds.add("wanted", "app\nweb\nteam/x\n\nz\n\xc3\xa4\n");
    seeds.add("unsorted", "b\n1\na\n2\n");
    seeds.add("twice", "a\n1\na\n2\n");
    seeds.add("control", "a\n\x1b[2J\n");
    seeds.add("overlong", "a\n\xc0\x80\n");
    std::string many;
    for (int i = 0; i < 60; ++i) {
        many += fmt::format("key{:03}\n{}\n", i, std::string(60, 'v'));
    }
    seeds.add("many", many);
}

void add_config(Seeds seeds) {
    const auto broker = [&seeds](std::string_view name, const std::string& text) { seeds.add(name, "b" + text); };
    broker("socket",
           "[socket]\nmode = \"0660\"\ngroup = 0\nallowed_users = [0, 1000]\nallowed_groups = [\"root\"]\n[admins]\nusers = [\"root\"]\n");
    broker("workers", "[workers]\ncount = 2\norder_seconds = 5\n[slots]\nfirst = 131072\ncount = 3\n");
    broker("jobs", "[jobs]\nwork_size = \"2MiB\"\ntmp_size = \"1.5MiB\"\nlog_size = \"100Ki\"\nlog_size_max = \"1GB\"\nended_kept = 0\n");
    broker("resources",
           "[jobs]\nmemory = \"1GiB\"\nmemory_max = \"2GiB\"\nprocesses = \"none\"\ncpus = 1.5\ncpus_max = 4\nhost_network = true\n");
    broker("built-in", "[jobs]\nmemory = \"built-in\"\nprocesses_max = 100\n");
    broker("bases", "[bases]\ndebian = \"/srv/debian\"\nold = { path = \"/srv/old\", proc = \"masked\" }\n\"a.b\" = \"/x\"\n");
    broker("volumes",
           "[volumes]\nbackend = \"btrfs\"\ntrash_retention = \"7d\"\nmemory_budget = \"1GiB\"\nmemory_volume_timeout = \"90s\"\n");
    broker("audit", "[audit]\nsync = \"each\"\nfile_size = \"1MiB\"\n[cgroups]\nrequire_controllers = [\"io\", \"memory\"]\n");
    broker("limits", "[limits]\nvolumes = 1\ntotal_size = \"1TiB\"\n[users.1000]\nconnections = 2\n[users.root]\nrunning_jobs = 7\n");
    broker("strings", "[bases]\na = '/raw'\nb = \"\"\"\n/x\"\"\"\nc = \"/\\u00e4\\t\"\n# comment\n");
    seeds.add("api", "a[log]\nlevel = \"error\"\n[database]\nsynchronous = \"full\"\n[history]\nended_jobs = 5\n");
    seeds.add("api-rpc", "a[rpc]\nmax_message = \"64KiB\"\nmax_unread = \"1.5MiB\"\nunread_seconds = 1\ncalls_per_connection = 3\n");
}

// Lines of the true log before the rest, one of its bytes changed, and whether the others come after it: see fuzz_audit.cpp.
std::string audit(unsigned char lines, bool others, std::string_view rest, std::uint16_t where = 0, char other = 0) {
    return std::string(1, static_cast<char>(lines | (others ? 0x80U : 0U))) + raw(where) + other + std::string(rest);
}

void add_audit(Seeds seeds) {
    const std::string nobody(64, '0');
    seeds.add("empty", audit(0, false, ""));
    seeds.add("whole", audit(15, false, ""));
    seeds.add("half", audit(4, false, ""));
    seeds.add("changed", audit(15, false, "", 100, 'x'));
    seeds.add("torn", audit(15, false, "{\"seq\":9,\"time\":\"20"));
    seeds.add("no-record", audit(15, false, "no record\n"));
    seeds.add("inserted", audit(3, true, fmt::format("{{\"seq\":4,\"event\":\"end\",\"previous\":\"{}\"}}\n", nobody)));
    seeds.add("first", audit(0, true, fmt::format("{{\"seq\":0,\"event\":\"end\",\"previous\":\"{}\"}}\n", nobody)));
    seeds.add("checkpoint",
              audit(15, false,
                    fmt::format("{{\"seq\":12,\"event\":\"checkpoint\",\"key\":\"{0}\",\"previous\":\"{0}\",\"signature\":\"{0}{0}\"}}\n",
                                nobody)));
    seeds.add("start", audit(2, false, fmt::format("x\n{{\"seq\":3,\"event\":\"start\",\"torn_bytes\":1,\"previous\":\"{}\"}}\n", nobody)));
    seeds.add("kinds", audit(0, false,
                             fmt::format("{{\"seq\":1,\"event\":\"begin\",\"uid\":1,\"volume\":\"ab\",\"volumes\":[\"ab:ro\"],\"job\":"
                                         "\"b1\",\"time\":\"2026\",\"a\":[{{}},null,true,-1,1.5],\"previous\":\"{}\"}}\n",
                                         nobody)));
    seeds.add("largest", audit(0, false, fmt::format("{{\"seq\":18446744073709551614,\"previous\":\"{}\"}}\n", nobody)));
}

} // namespace

void add_text_seeds(const std::filesystem::path& directory) {
    add_all({directory, "sizes"}, {"512", "10KB", "1.5GiB", "0.0009765625k", "8191.999tib", "9223372036854775807", "100Mi", "0", "007.50M",
                                   "90s", "10m", "24h", "36500d", "0123456789abcdef0123456789abcdef"});
    add_all({directory, "targets"}, {"/data", "/data\n/data/x", "/a/b/c\n/a/b", "/proc/x", "/tmpfs\n/tmp", "/a/../b", "/a//b", "/a/./b",
                                     "/a/", "data", "v1_x.y-z", "-v", "/etc", "/volumes/a\n/work", "/..."});
    add_labels({directory, "labels"});
    add_config({directory, "config"});
    add_audit({directory, "audit"});
}

} // namespace joblet::fuzz
