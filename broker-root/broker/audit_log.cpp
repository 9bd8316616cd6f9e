#include "broker-root/broker/audit_log.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>
#include <span>
#include <vector>

#include <fmt/format.h>

#include "broker-root/broker/clock.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"

namespace joblet::broker {

namespace {

constexpr const char* kFile = "audit.jsonl";
constexpr const char* kKeyFile = "audit.key";
constexpr const char* kPublicKeyFile = "audit.pub";
constexpr std::string_view kFirstWords = "{\"seq\":";
// No record is longer: a StartJob with every volume has about 1,200 bytes
constexpr std::size_t kLineMax = 2048;
constexpr std::uint64_t kReservedAtOnce = std::uint64_t{256} << 10U;
constexpr std::uint64_t kNumberMax = std::uint64_t{1} << 63U; // no log comes near it, and numbers must not begin anew
constexpr std::uint32_t kLogMode = 0640;
constexpr int kLockTries = 40;
constexpr useconds_t kLockPause = 50'000;

// False with errno. Some file systems let a signal (CloseTimer) interrupt it.
bool reserve_room(const Fd& file, std::uint64_t from, std::uint64_t bytes) {
    int result = -1;
    do {
        result = ::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from), static_cast<off_t>(bytes));
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

std::string hex(std::span<const unsigned char> bytes) {
    std::string out;
    for (const unsigned char byte : bytes) {
        fmt::format_to(std::back_inserter(out), "{:02x}", byte);
    }
    return out;
}

AuditLog::Hash hash_of(std::string_view text) {
    AuditLog::Hash out{};
    crypto_hash_sha256(out.data(), reinterpret_cast<const unsigned char*>(text.data()), text.size());
    return out;
}

// "2026-11-26T07:00:00.123456Z"
std::string utc(std::int64_t ns) {
    const std::time_t seconds = ns / 1'000'000'000;
    tm parts{};
    ::gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                       parts.tm_min, parts.tm_sec, ns / 1000 % 1'000'000);
}

std::uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return (static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U) + static_cast<std::uint64_t>(now.tv_nsec);
}

std::string rotated_name(std::uint64_t last) {
    return fmt::format("audit.{:020}.jsonl", last);
}

std::span<const unsigned char> public_half(const AuditLog::SecretKey& key) {
    return std::span(key).last(crypto_sign_PUBLICKEYBYTES);
}

} // namespace

void AuditFields::name_it(std::string_view name) {
    fmt::format_to(std::back_inserter(text_), "{}\"{}\":", text_.empty() ? "" : ",", name);
}

AuditFields& AuditFields::add(std::string_view name, std::string_view word) {
    name_it(name);
    fmt::format_to(std::back_inserter(text_), "\"{}\"", word);
    return *this;
}

AuditFields& AuditFields::add_number(std::string_view name, std::uint64_t number) {
    name_it(name);
    fmt::format_to(std::back_inserter(text_), "{}", number);
    return *this;
}

AuditFields& AuditFields::add_list(std::string_view name, std::span<const std::string> words) {
    name_it(name);
    text_ += '[';
    for (std::size_t i = 0; i < words.size(); ++i) {
        fmt::format_to(std::back_inserter(text_), "{}\"{}\"", i == 0 ? "" : ",", words[i]);
    }
    text_ += ']';
    return *this;
}

std::string AuditLog::begun(const AuditFields& fields) const {
    return fmt::format("{}{},\"time\":\"{}\",\"boottime_ns\":{},{},\"previous\":\"{}\"", kFirstWords, next_, utc(realtime_ns()),
                       monotonic_ns(), fields.text(), hex(previous_));
}

kernel::Result<void> AuditLog::write_line(const std::string& line) {
    if (is_broken_) {
        return std::unexpected(EIO);
    }
    const ssize_t written = ::write(file_.get(), line.data(), line.size());
    if (written == static_cast<ssize_t>(line.size())) {
        size_ += line.size();
        reserved_ = std::max(reserved_, size_);
        return {};
    }
    const int code = written < 0 ? errno : ENOSPC;
    if (written > 0) {
        is_broken_ = ::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0;
        reserved_ = size_;
    }
    return std::unexpected(code);
}

// `line` is without its newline, which is not in the hash.
kernel::Result<void> AuditLog::write_record(std::string line) {
    const Hash hash = hash_of(line);
    line += '\n';
    if (auto written = write_line(line); !written) {
        return written;
    }
    previous_ = hash;
    ++next_;
    ++unsigned_;
    return {};
}

kernel::Result<void> AuditLog::reserve(std::size_t records) {
    if (size_ + (records * kLineMax) <= reserved_) {
        return {};
    }
    const std::uint64_t bytes = std::max(records * kLineMax, kReservedAtOnce);
    if (!reserve_room(file_, size_, bytes)) {
        return kernel::last_errno();
    }
    reserved_ = size_ + bytes;
    return {};
}

kernel::Result<std::uint64_t> AuditLog::append(const AuditFields& fields) {
    if (size_ >= file_bytes_) {
        rotate(); // if that cannot be, this file goes on
    }
    const std::uint64_t number = next_;
    if (auto written = write_record(begun(fields) + "}"); !written) {
        return std::unexpected(written.error());
    }
    return number;
}

kernel::Result<void> AuditLog::sign() {
    if (unsigned_ == 0) {
        return {};
    }
    std::string line = begun(AuditFields("checkpoint").add("key", std::string_view(hex(public_half(key_)))));
    std::array<unsigned char, crypto_sign_BYTES> signature{};
    crypto_sign_detached(signature.data(), nullptr, reinterpret_cast<const unsigned char*>(line.data()), line.size(), key_.data());
    line += fmt::format(",\"signature\":\"{}\"}}", hex(signature));
    if (auto written = write_record(std::move(line)); !written) {
        return written;
    }
    unsigned_ = 0;
    return {};
}

void AuditLog::rotate() {
    auto next = kernel::open_beneath(directory_.get(), "audit.new", O_RDWR | O_APPEND | O_CREAT | O_TRUNC, kLogMode);
    const bool has_room = next && reserve_room(*next, 0, kReservedAtOnce);
    // The old one gets its last name first: a file that goes on has nothing in it yet, and begin() finds where the chain ended
    if (!has_room || !sign() || ::renameat(directory_.get(), kFile, directory_.get(), rotated_name(last()).c_str()) != 0 ||
        ::renameat(directory_.get(), "audit.new", directory_.get(), kFile) != 0) {
        return;
    }
    put_aside_.push_back(std::exchange(file_, std::move(*next)));
    size_ = 0;
    reserved_ = kReservedAtOnce;
}

kernel::Result<std::uint64_t> AuditLog::take_up(const Fd& file) {
    struct stat state{};
    if (::fstat(file.get(), &state) != 0) {
        return kernel::last_errno();
    }
    // Two lines at least, and what was left of a third one
    std::string end(std::min<std::uint64_t>(static_cast<std::uint64_t>(state.st_size), 4 * kLineMax), '\0');
    const ssize_t got = ::pread(file.get(), end.data(), end.size(), state.st_size - static_cast<off_t>(end.size()));
    if (got != static_cast<ssize_t>(end.size())) {
        return std::unexpected(got < 0 ? errno : EIO);
    }
    const std::size_t complete = end.rfind('\n') + 1; // 0: no line at all
    const std::string_view torn = std::string_view(end).substr(complete);
    if (complete != 0) {
        const std::string_view lines = std::string_view(end).substr(0, complete - 1);
        const std::string_view line = lines.substr(lines.rfind('\n') + 1);
        std::uint64_t number = 0;
        if (!line.starts_with(kFirstWords) ||
            std::from_chars(line.data() + kFirstWords.size(), line.data() + line.size(), number).ec != std::errc() || number == 0 ||
            number >= kNumberMax) {
            return std::unexpected(EBADMSG);
        }
        next_ = number + 1;
        previous_ = hash_of(line);
    }
    if (!torn.empty()) {
        previous_ = hash_of(torn);
    }
    size_ = static_cast<std::uint64_t>(state.st_size);
    reserved_ = size_;
    return torn.size();
}

std::expected<void, std::string> AuditLog::begin() {
    const auto refused = [](const char* what, int code) {
        return std::unexpected(
            fmt::format("the audit log {}: {}", what, code == EBADMSG ? "its last line is no record" : std::strerror(code)));
    };
    auto file = kernel::open_beneath(directory_.get(), kFile, O_RDWR | O_APPEND | O_CREAT, kLogMode);
    if (!file) {
        return refused("cannot be opened", file.error());
    }
    const auto state = kernel::status_of(file->get());
    if (!state || !S_ISREG(state->st_mode) || state->st_uid != ::geteuid() || state->st_nlink != 1) {
        return refused("is not a file of root's alone", EPERM);
    }
    // A worker of a broker that has just died may still be bringing it to the disk
    int held_by_other = EWOULDBLOCK;
    for (int i = 0; i < kLockTries && held_by_other == EWOULDBLOCK; ++i) {
        if (i != 0) {
            ::usleep(kLockPause);
        }
        const auto locked = kernel::try_lock(file->get(), kernel::LockKind::Exclusive);
        held_by_other = locked ? 0 : locked.error();
    }
    if (held_by_other != 0) {
        return refused("cannot be locked", held_by_other);
    }
    if (state->st_size == 0) {
        // New, or a rotation that was just under way
        const auto names = kernel::list_directory(directory_.get());
        std::string newest;
        for (const auto& name : names.value_or(std::vector<std::string>())) {
            if (name.starts_with("audit.0") && name.ends_with(".jsonl")) {
                newest = std::max(newest, name);
            }
        }
        if (!newest.empty()) {
            const auto before = kernel::open_beneath(directory_.get(), newest.c_str(), O_RDONLY);
            if (!before) {
                return refused("before this one cannot be read", before.error());
            }
            if (const auto taken = take_up(*before); !taken) {
                return refused("before this one cannot be read", taken.error());
            }
        }
    }
    file_ = std::move(*file);
    std::uint64_t torn = 0;
    if (state->st_size != 0) {
        const auto taken = take_up(file_);
        if (!taken) {
            return refused("cannot be gone on with", taken.error());
        }
        torn = *taken;
    } else {
        size_ = 0;
        reserved_ = 0;
    }
    if (torn != 0) { // it stays, as a line of its own
        if (const auto ended = write_line("\n"); !ended) {
            return refused("cannot be written", ended.error());
        }
    }
    auto start = AuditFields("start").add("key", std::string_view(hex(public_half(key_))));
    if (torn != 0) {
        start.add("torn_bytes", torn);
    }
    if (const auto written = append(start); !written) {
        return refused("cannot be written", written.error());
    }
    return {};
}

std::expected<AuditLog, std::string> AuditLog::open(Fd directory, const SecretKey& key, std::uint64_t file_bytes) {
    AuditLog log(std::move(directory), key, file_bytes);
    if (auto begun = log.begin(); !begun) {
        return std::unexpected(begun.error());
    }
    return log;
}

std::expected<AuditLog::SecretKey, std::string> load_audit_key(int state, int logs) {
    const auto refused = [](const char* what, int code) {
        return std::unexpected(fmt::format("the audit log's key {}: {}", what, std::strerror(code)));
    };
    if (sodium_init() < 0) {
        return std::unexpected("libsodium does not start");
    }
    std::array<unsigned char, crypto_sign_SEEDBYTES> seed{};
    auto file = kernel::open_beneath(state, kKeyFile, O_RDONLY);
    if (!file && file.error() == ENOENT) {
        randombytes_buf(seed.data(), seed.size());
        const auto made =
            kernel::replace_file(state, kKeyFile, "audit.key.new", std::as_bytes(std::span(seed)), kernel::Durability::Synced);
        if (!made || ::fsync(state) != 0) {
            return refused("cannot be made", made ? errno : made.error());
        }
        file = kernel::open_beneath(state, kKeyFile, O_RDONLY);
    }
    if (!file) {
        return refused("cannot be opened", file.error());
    }
    const auto status = kernel::status_of(file->get());
    if (!status || !S_ISREG(status->st_mode) || status->st_uid != ::geteuid() || (status->st_mode & 077U) != 0) {
        return refused("is not a file that root alone can read", EPERM);
    }
    const auto size = kernel::read_file(file->get(), std::as_writable_bytes(std::span(seed)));
    if (!size || *size != seed.size() || status->st_size != static_cast<off_t>(seed.size())) {
        return refused("is not 32 bytes long", size ? EINVAL : size.error());
    }
    AuditLog::SecretKey key{};
    std::array<unsigned char, crypto_sign_PUBLICKEYBYTES> unused{};
    crypto_sign_seed_keypair(unused.data(), key.data(), seed.data());
    sodium_memzero(seed.data(), seed.size());
    const std::string text = hex(public_half(key)) + "\n";
    const auto told = kernel::replace_file(logs, kPublicKeyFile, "audit.pub.new", std::as_bytes(std::span(text)), kernel::Durability::Lazy);
    if (!told) {
        return refused("cannot be published", told.error());
    }
    return key;
}

} // namespace joblet::broker
