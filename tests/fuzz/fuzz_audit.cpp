// The audit log: what the broker goes on with after a restart, and what `rnx audit` says of it, whatever is in the file. The input is
// the file; before it, a byte says how many lines of a true log come first and whether the others come last, and three more which byte
// of the first ones is another one.
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>

#include "broker-root/broker/audit_log.h"
#include "cli/audit_check.h"
#include "cli/output_audit.h"
#include "tests/fuzz/fuzz.h"

using namespace joblet;
using broker::AuditFields;
using broker::AuditLog;
using joblet::fuzz::require;

namespace {

constexpr std::uint64_t kLarge = std::uint64_t{1} << 30U;

// A directory with a key of its own, gone with the process.
class Place {
  public:
    Place() {
        require(sodium_init() >= 0, "libsodium starts");
        std::string pattern = (std::filesystem::temp_directory_path() / "joblet-fuzz-XXXXXX").string();
        require(::mkdtemp(pattern.data()) != nullptr, "there is room for a directory");
        path_ = pattern;
        std::array<unsigned char, crypto_sign_SEEDBYTES> seed{};
        crypto_sign_seed_keypair(public_key.data(), key.data(), seed.data());
        auto log = open();
        require(log.has_value(), "a new log can be begun");
        for (std::uint64_t i = 0; i < 5; ++i) {
            require(log->append(AuditFields("begin").add("request", "CreateVolume").add("uid", i)).has_value(), "a record is written");
            require(i % 2 == 0 || log->sign().has_value(), "a log is signed");
        }
        require(log->sign().has_value(), "a log is signed");
        good = read();
    }
    ~Place() {
        std::error_code gone;
        std::filesystem::remove_all(path_, gone);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    [[nodiscard]] std::expected<AuditLog, std::string> open() const {
        return AuditLog::open(Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)), key, kLarge);
    }
    void write(std::string_view text) const {
        const Fd file(::open(file_name().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640));
        require(::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), "there is room for a file");
    }
    [[nodiscard]] std::string read() const {
        const Fd file(::open(file_name().c_str(), O_RDONLY | O_CLOEXEC));
        struct stat state{};
        require(::fstat(file.get(), &state) == 0, "a file has a size");
        std::string text(static_cast<std::size_t>(state.st_size), '\0');
        const ssize_t size = ::pread(file.get(), text.data(), text.size(), 0);
        text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
        return text;
    }

    AuditLog::SecretKey key{};
    cli::AuditKey public_key{};
    std::string good; // a log that checks

  private:
    [[nodiscard]] std::string file_name() const {
        return path_ + "/audit.jsonl";
    }
    std::string path_;
};

const Place& place() {
    static const Place one;
    return one;
}

using Hash = std::array<unsigned char, 32>;

Hash hash_of(std::string_view text) {
    Hash out{};
    crypto_hash_sha256(out.data(), reinterpret_cast<const unsigned char*>(text.data()), text.size());
    return out;
}
std::string hex(const Hash& hash) {
    std::string out(2 * hash.size() + 1, '\0');
    sodium_bin2hex(out.data(), out.size(), hash.data(), hash.size());
    out.pop_back();
    return out;
}

struct Lines {
    std::vector<std::string_view> complete;
    std::string_view rest;
};
Lines lines_of(std::string_view text) {
    Lines out;
    for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
        out.complete.push_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    out.rest = text;
    return out;
}

// What is wrong with it, as `rnx audit verify` says.
std::optional<std::string> problem_of(std::string_view text) {
    cli::AuditChecker checker(place().public_key);
    const Lines lines = lines_of(text);
    for (const auto line : lines.complete) {
        if (auto wrong = checker.take(line)) {
            return wrong;
        }
    }
    return checker.finish(lines.rest, 0);
}

// Nobody but who has the key writes what is taken for good: it is a part of the true log that begins somewhere and ends with a
// signature, byte for byte.
void check_verify(std::string_view text) {
    const auto problem = problem_of(text);
    require(!problem || !problem->empty(), "what is wrong is said");
    if (!problem) {
        require(place().good.ends_with(text) || place().good.find(text) != std::string::npos, "what was not written is not taken for good");
    }
}

// Whatever is a record can be shown.
void check_shown(std::string_view line) {
    const std::string one(line);
    for (const auto& list : {cli::AuditList{.uid = 1}, cli::AuditList{.volume = "a", .job = "b", .since = "2"}, cli::AuditList{}}) {
        if (!cli::is_wanted(one, list)) {
            continue;
        }
        for (const auto format : {cli::Format::Table, cli::Format::Json, cli::Format::Yaml}) {
            require(!cli::render_audit({one}, format, 80).empty(), "a record can be shown");
        }
        return;
    }
}

// A broker that finds this file either refuses to start or goes on with its chain; what was there stays.
void check_go_on(std::string_view text) {
    place().write(text);
    auto log = place().open();
    if (!log) {
        require(!log.error().empty(), "why a log cannot be gone on with is said");
        require(place().read() == text, "a log that is refused is not touched");
        return;
    }
    require(log->append(AuditFields("begin").add("uid", 1U)).has_value() && log->sign().has_value(), "a log that is open is written");
    const std::string now = place().read();
    require(now.starts_with(text), "what was there stays");
    const Lines before = lines_of(text);
    const Lines added = lines_of(std::string_view(now).substr(text.size()));
    const std::size_t torn = before.rest.empty() ? 0 : 1; // which is a line of its own now
    require(added.rest.empty() && added.complete.size() == torn + 3, "a start, a record and a signature are added");
    std::uint64_t number = 0;
    Hash previous{};
    if (!before.complete.empty()) {
        const auto last = before.complete.back().substr(std::string_view("{\"seq\":").size());
        require(std::from_chars(last.data(), last.data() + last.size(), number).ec == std::errc(), "a log goes on behind a record");
        previous = hash_of(before.complete.back());
    }
    if (torn != 0) {
        previous = hash_of(before.rest);
    }
    for (const auto line : std::span(added.complete).subspan(torn)) {
        ++number;
        require(number != 0 && line.starts_with("{\"seq\":" + std::to_string(number) + ","), "numbers go on");
        require(line.find("\"previous\":\"" + hex(previous) + "\"") != std::string_view::npos, "each record names the one before");
        previous = hash_of(line);
    }
    // Without what was there before: what was added checks by itself
    std::string own;
    for (const auto line : std::span(added.complete).subspan(torn)) {
        own += std::string(line) + "\n";
    }
    require(torn != 0 || number < 4 || !problem_of(own), "what was added checks");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const auto lines = input.take<std::uint8_t>();
    const auto where = input.take<std::uint16_t>();
    const auto other = input.take<char>();
    const auto good = lines_of(place().good);
    const std::size_t before = std::min<std::size_t>(lines % 16, good.complete.size());
    std::string text;
    for (const auto line : std::span(good.complete).first(before)) {
        text += std::string(line) + "\n";
    }
    if (other != 0 && !text.empty()) {
        text[where % text.size()] = other;
    }
    text += input.rest();
    for (const auto line : std::span(good.complete).subspan(lines >= 128 ? before : good.complete.size())) {
        text += std::string(line) + "\n";
    }
    check_verify(text);
    check_go_on(text);
    check_shown(input.take_text('\n'));
    return 0;
}
