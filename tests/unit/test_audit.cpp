// The audit log as the broker writes it and as rnx checks it: each knows the other only by docs/audit.md.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "broker-root/broker/audit.h"
#include "broker-root/broker/audit_log.h"
#include "cli/audit_check.h"
#include "cli/output_audit.h"

using namespace joblet;
using namespace joblet::broker;
using nlohmann::json;

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLarge = std::uint64_t{1} << 30U;

// Directories of state and logs; removed when they go.
class Place {
  public:
    Place() {
        std::string pattern = "/var/tmp/joblet-audit.XXXXXX";
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
        key = load_audit_key(directory().get(), directory().get()).value();
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    [[nodiscard]] Fd directory() const {
        return Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    [[nodiscard]] std::string file(const std::string& name = "audit.jsonl") const {
        return path_ + "/" + name;
    }
    [[nodiscard]] AuditLog open(std::uint64_t file_bytes = kLarge) const {
        auto log = AuditLog::open(directory(), key, file_bytes);
        REQUIRE_MESSAGE(log.has_value(), log.error());
        return std::move(*log);
    }
    [[nodiscard]] std::string text(const std::string& name = "audit.jsonl") const {
        std::ostringstream out;
        out << std::ifstream(file(name)).rdbuf();
        return out.str();
    }
    void write(const std::string& text) const {
        std::ofstream(file(), std::ios::trunc) << text;
    }
    // All files in order, as rnx reads them.
    [[nodiscard]] std::vector<std::string> files() const {
        std::vector<std::string> names;
        for (const auto& entry : fs::directory_iterator(path_)) {
            const std::string name = entry.path().filename();
            if (name.starts_with("audit.0")) {
                names.push_back(name);
            }
        }
        std::ranges::sort(names);
        names.emplace_back("audit.jsonl");
        return names;
    }
    [[nodiscard]] std::optional<std::string> problem(std::uint64_t at_least = 0) const {
        const auto public_key = cli::parse_audit_key(text("audit.pub"));
        REQUIRE(public_key.has_value());
        cli::AuditChecker checker(*public_key);
        std::string all;
        for (const auto& name : files()) {
            all += text(name);
        }
        std::size_t from = 0;
        for (auto end = all.find('\n'); end != std::string::npos; end = all.find('\n', from)) {
            if (auto wrong = checker.take(std::string_view(all).substr(from, end - from))) {
                return wrong;
            }
            from = end + 1;
        }
        return checker.finish(std::string_view(all).substr(from), at_least);
    }

    AuditLog::SecretKey key{};

  private:
    std::string path_;
};

AuditFields some(std::uint64_t n) {
    AuditFields fields("begin");
    fields.add("request", "CreateVolume").add("uid", n);
    return fields;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

std::string joined(const std::vector<std::string>& lines) {
    return fmt::format("{}\n", fmt::join(lines, "\n"));
}

// A log with a start, ten records, a signature, ten more, and a signature.
void write_some(const Place& place) {
    auto log = place.open();
    for (std::uint64_t i = 0; i < 20; ++i) {
        REQUIRE(log.append(some(i)).has_value());
        if (i % 10 == 9) {
            REQUIRE(log.sign().has_value());
        }
    }
}

bool mentions(const std::optional<std::string>& sentence, const std::string& words) {
    return sentence && sentence->contains(words);
}

} // namespace

TEST_CASE("what is written is one object a line, in order, and checks") {
    const Place place;
    write_some(place);
    const auto lines = lines_of(place.text());
    REQUIRE(lines.size() == 23);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const json record = json::parse(lines[i]);
        CHECK(record["seq"] == i + 1);
        CHECK(record["previous"].get<std::string>().size() == 64);
        CHECK(record["time"].get<std::string>().size() == 27);
    }
    CHECK(json::parse(lines[0])["event"] == "start");
    CHECK(json::parse(lines[1])["request"] == "CreateVolume");
    CHECK(json::parse(lines[22])["event"] == "checkpoint");
    CHECK(place.problem() == std::nullopt);
    struct stat state{};
    REQUIRE(::stat(place.file().c_str(), &state) == 0);
    CHECK((state.st_mode & 07777U) == 0640);
    REQUIRE(::stat(place.file("audit.key").c_str(), &state) == 0);
    CHECK((state.st_mode & 077U) == 0);
}

TEST_CASE("each change is found, with the record it begins at") {
    const Place place;
    write_some(place);
    const auto good = lines_of(place.text());
    const auto problem_of = [&](auto spoil) {
        auto lines = good;
        spoil(lines);
        place.write(joined(lines));
        return place.problem();
    };
    // Every record, with one of its bytes changed
    for (std::size_t i = 0; i < good.size(); ++i) {
        CAPTURE(i);
        for (const char* const part : {"\"uid\":", "\"time\":\"20", "\"previous\":\"", "\"signature\":\"", "\"boottime_ns\":"}) {
            const auto at = good[i].find(part);
            if (at != std::string::npos) {
                const char kept = good[i][at + std::strlen(part)];
                const auto problem = problem_of([&](auto& lines) { lines[i][at + std::strlen(part)] = kept == '1' ? '2' : '1'; });
                CHECK_MESSAGE(problem.has_value(), part);
            }
        }
        CHECK(problem_of([i](auto& lines) { lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(i)); }).has_value() == (i != 0));
        CHECK(problem_of([i](auto& lines) { lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(i), lines[i]); }).has_value());
        if (i + 1 < good.size()) {
            CHECK(problem_of([i](auto& lines) { std::swap(lines[i], lines[i + 1]); }).has_value());
        }
    }
    CHECK(mentions(problem_of([](auto& lines) { lines[5].replace(lines[5].find("\"uid\":"), 7, "\"uid\":9"); }), "record 6 was changed"));
    CHECK(mentions(problem_of([](auto& lines) { lines.erase(lines.begin() + 5); }), "record 6 is missing"));
    CHECK(mentions(problem_of([](auto& lines) { std::swap(lines[5], lines[6]); }), "record 6 is missing"));
    CHECK(mentions(problem_of([](auto& lines) { lines[5] = "{}"; }), "after record 5"));
    CHECK(mentions(problem_of([](auto& lines) {
                       lines[5] = "x";
                       lines[6] = "y";
                   }),
                   "record 5"));
    CHECK(mentions(problem_of([](auto& lines) { lines.resize(20); }), "records after 12 are not signed"));
    CHECK(mentions(problem_of([](auto& lines) { lines.resize(1); }), "not signed"));
    CHECK(problem_of([](auto&) {}) == std::nullopt);
    // Cut where a signature was: only who knows of more can tell
    auto cut = good;
    cut.resize(12);
    place.write(joined(cut));
    CHECK(place.problem() == std::nullopt);
    CHECK(mentions(place.problem(23), "the daemon has written 23"));
    place.write(joined(good).substr(0, joined(good).size() - 10));
    CHECK(mentions(place.problem(), "the record after 22 is cut"));
    place.write("");
    CHECK(mentions(place.problem(), "no record"));
}

TEST_CASE("a field of another kind, a number that no record has and what is nested deeply are found, and end nothing") {
    const Place place;
    write_some(place);
    const auto good = lines_of(place.text());
    const std::string deep = std::string(50'000, '[') + std::string(50'000, ']');
    for (const std::string& line :
         {std::string(R"({"seq":"6"})"), std::string(R"({"seq":0})"), std::string(R"({"seq":-6})"), std::string(R"({"seq":6.5})"),
          std::string(R"({"seq":6,"previous":7})"), std::string(R"({"seq":6,"event":7,"previous":[]})"), R"({"seq":)" + deep + "}",
          R"({"seq":6,"previous":)" + deep + "}", deep}) {
        CAPTURE(line.substr(0, 40));
        auto lines = good;
        lines[5] = line;
        place.write(joined(lines));
        CHECK(place.problem().has_value());
        for (const auto format : {cli::Format::Table, cli::Format::Json, cli::Format::Yaml}) {
            CHECK_FALSE(cli::render_audit({line}, format, std::nullopt).empty());
        }
        CHECK_FALSE(cli::is_wanted(line, {.uid = 5}));
    }
}

TEST_CASE("a log whose records were written anew needs the key to be signed") {
    const Place place;
    write_some(place);
    const Place forger;
    write_some(forger);
    place.write(forger.text());
    CHECK(mentions(place.problem(), "another key"));
}

TEST_CASE("a daemon that is started again goes on with the chain, also after a line that was not written to its end") {
    const Place place;
    write_some(place);
    {
        auto log = place.open();
        CHECK(log.last() == 24);
        REQUIRE(log.append(some(1)).has_value());
        REQUIRE(log.sign().has_value());
    }
    CHECK(place.problem() == std::nullopt);
    const auto whole = place.text();
    for (const std::string torn : {"{\"seq\":27,\"time\":\"2026", "{", "\xff"}) {
        place.write(whole + torn);
        {
            auto log = place.open();
            CHECK(log.last() == 27);
            REQUIRE(log.sign().has_value());
        }
        const auto lines = lines_of(place.text());
        CHECK(lines[26] == torn);
        CHECK(json::parse(lines[27])["torn_bytes"] == torn.size());
        CHECK(place.problem() == std::nullopt);
        // What the torn line says is in the chain, too
        auto changed = lines;
        changed[26] = "x" + torn.substr(1);
        place.write(joined(changed));
        CHECK((torn == "x" || place.problem().has_value()));
    }
    place.write(whole + "no record\n");
    CHECK(!AuditLog::open(place.directory(), place.key, kLarge).has_value());
}

TEST_CASE("a long log is put aside, and the chain goes on in the next file, wherever a rotation is interrupted") {
    const Place place;
    {
        auto log = place.open(2000);
        for (std::uint64_t i = 0; i < 50; ++i) {
            REQUIRE(log.append(some(i)).has_value());
        }
        REQUIRE(log.sign().has_value());
        CHECK(log.put_aside().size() == place.files().size() - 1);
    }
    CHECK(place.files().size() > 3);
    CHECK(place.problem() == std::nullopt);
    const auto last = place.text();
    // Between the two renames: nothing goes on yet
    const std::uint64_t number = json::parse(lines_of(last).back())["seq"];
    fs::rename(place.file(), place.file(fmt::format("audit.{:020}.jsonl", number)));
    {
        auto log = place.open(kLarge);
        CHECK(log.last() == number + 1);
        REQUIRE(log.sign().has_value());
    }
    CHECK(place.problem() == std::nullopt);
    // Without one of the files
    fs::remove(place.file(place.files()[1]));
    CHECK(mentions(place.problem(), "is missing"));
}

TEST_CASE("a file that is not root's alone, and a key that others can read, are refused") {
    const Place place;
    write_some(place);
    REQUIRE(::link(place.file().c_str(), place.file("other").c_str()) == 0);
    CHECK(!AuditLog::open(place.directory(), place.key, kLarge).has_value());
    REQUIRE(::unlink(place.file("other").c_str()) == 0);
    REQUIRE(::rename(place.file().c_str(), place.file("other").c_str()) == 0);
    REQUIRE(::symlink("other", place.file().c_str()) == 0);
    CHECK(!AuditLog::open(place.directory(), place.key, kLarge).has_value());
    REQUIRE(::chmod(place.file("audit.key").c_str(), 0644) == 0);
    CHECK(!load_audit_key(place.directory().get(), place.directory().get()).has_value());
    REQUIRE(::chmod(place.file("audit.key").c_str(), 0600) == 0);
    CHECK(load_audit_key(place.directory().get(), place.directory().get()) == place.key);
    REQUIRE(::truncate(place.file("audit.key").c_str(), 31) == 0);
    CHECK(!load_audit_key(place.directory().get(), place.directory().get()).has_value());
}

TEST_CASE("two daemons do not write one log") {
    const Place place;
    const auto log = place.open();
    CHECK(!AuditLog::open(place.directory(), place.key, kLarge).has_value());
}

namespace {

// A disk that answers when it is told to.
struct Disk {
    explicit Disk(EventLoop& l) : loop(l) {}
    Task<int> sync() {
        ++asked;
        while (held) {
            const Gate now = gate;
            co_await now;
        }
        co_return code;
    }
    void release() {
        held = false;
        gate.open();
    }
    EventLoop& loop;
    Gate gate{loop};
    int asked = 0;
    int code = 0;
    bool held = false;
};

struct Outcome {
    std::optional<kernel::Result<std::uint64_t>> begun;
    std::optional<bool> ended;
};

Detached operate(Audit& audit, Outcome& outcome) {
    AuditFields fields = some(1);
    outcome.begun = co_await audit.before(std::move(fields));
    if (*outcome.begun) {
        AuditFields end("end");
        outcome.ended = co_await audit.after(**outcome.begun, std::move(end));
    }
}

void run_for(EventLoop& loop, std::chrono::milliseconds time) {
    EventLoop::Timer unused = loop.after(time, [&loop] { loop.stop(); });
    loop.run();
    (void)unused;
}

} // namespace

TEST_CASE("with sync = each nothing begins, and nothing is answered, before its record is on disk") {
    const Place place;
    EventLoop loop;
    Disk disk(loop);
    disk.held = true;
    Audit audit(loop, place.open(), {.sync_each = true}, [&disk](const Fd&) { return disk.sync(); });
    Outcome one;
    Outcome other;
    operate(audit, one);
    operate(audit, other);
    CHECK(!one.begun);
    CHECK(disk.asked == 1);
    loop.after(std::chrono::milliseconds(20), [&] {
        CHECK(!one.begun);
        CHECK(!one.ended);
        disk.release();
    });
    loop.after(std::chrono::milliseconds(200), [&loop] { loop.stop(); });
    loop.run();
    CHECK((one.ended && *one.ended));
    CHECK((other.ended && *other.ended));
    CHECK(disk.asked <= 4); // they share it
    CHECK(audit.last() == 5);
}

TEST_CASE("a disk that fails ends it for good: what is begun is refused") {
    const Place place;
    EventLoop loop;
    Disk disk(loop);
    disk.code = EIO;
    Audit audit(loop, place.open(), {.sync_each = true}, [&disk](const Fd&) { return disk.sync(); });
    Outcome one;
    operate(audit, one);
    run_for(loop, std::chrono::milliseconds(50));
    REQUIRE(one.begun.has_value());
    CHECK(one.begun->error() == EIO);
    CHECK(audit.failure() == EIO);
    disk.code = 0;
    Outcome other;
    operate(audit, other);
    REQUIRE(other.begun.has_value());
    CHECK(!other.begun->has_value());
}

TEST_CASE("soon: records are synced and signed after a while, together") {
    const Place place;
    EventLoop loop;
    Disk disk(loop);
    Audit audit(loop, place.open(),
                {.sync_after = std::chrono::milliseconds(20), .sign_after = std::chrono::milliseconds(30), .sign_records = 1000},
                [&disk](const Fd&) { return disk.sync(); });
    for (int i = 0; i < 50; ++i) {
        Outcome one;
        operate(audit, one);
        CHECK((one.ended && *one.ended));
    }
    CHECK(disk.asked == 0);
    CHECK(mentions(place.problem(), "not signed"));
    loop.after(std::chrono::milliseconds(200), [&loop] { loop.stop(); });
    loop.run();
    CHECK(disk.asked >= 1);
    CHECK(disk.asked <= 3);
    CHECK(place.problem() == std::nullopt);
}

TEST_CASE("records are picked by user, volume, job and time") {
    cli::AuditList all;
    const std::string line =
        R"({"seq":7,"time":"2026-11-26T07:00:00.000000Z","event":"begin","uid":5,"volume":"aabb","volumes":["ccdd:ro"]})";
    CHECK(cli::is_wanted(line, all));
    CHECK(!cli::is_wanted("torn", all));
    CHECK(cli::is_wanted(line, {.volume = "aab"}));
    CHECK(cli::is_wanted(line, {.volume = "ccdd"}));
    CHECK(!cli::is_wanted(line, {.volume = "dd"}));
    CHECK(!cli::is_wanted(line, {.job = "aabb"}));
    CHECK(cli::is_wanted(line, {.uid = 5}));
    CHECK(!cli::is_wanted(line, {.uid = 0}));
    CHECK(cli::is_wanted(line, {.since = "2026-11-26"}));
    CHECK(!cli::is_wanted(line, {.since = "2026-11-26T08"}));
    CHECK(cli::render_audit({line}, cli::Format::Table, std::nullopt).contains("2026-11-26T07:00:00.000000Z"));
    CHECK(json::parse(cli::render_audit({line}, cli::Format::Json, std::nullopt))[0]["seq"] == 7);
}
