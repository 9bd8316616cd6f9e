#include "cli/audit_check.h"

#include <sodium.h>

#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace joblet::cli {
namespace {

using Json = nlohmann::json;

template <std::size_t N> std::optional<std::array<unsigned char, N>> bytes_of(std::string_view digits) {
    std::array<unsigned char, N> out{};
    std::size_t size = 0;
    const bool read = digits.size() == 2 * N &&
                      sodium_hex2bin(out.data(), out.size(), digits.data(), digits.size(), nullptr, &size, nullptr) == 0 && size == N;
    return read ? std::optional(out) : std::nullopt;
}

template <std::size_t N> std::optional<std::array<unsigned char, N>> bytes_in(const Json& record, const char* name) {
    const auto found = record.find(name);
    return found != record.end() && found->is_string() ? bytes_of<N>(found->get_ref<const std::string&>()) : std::nullopt;
}

// Of any other kind than text: empty.
std::string text_in(const Json& record, const char* name) {
    const auto found = record.find(name);
    return found != record.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_in(const Json& record, const char* name) {
    const auto found = record.find(name);
    return found != record.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

const unsigned char* raw(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

} // namespace

std::optional<AuditKey> parse_audit_key(std::string_view text) {
    return bytes_of<std::tuple_size_v<AuditKey>>(text.substr(0, text.find_last_not_of(" \t\r\n") + 1));
}

std::optional<std::string> AuditChecker::take(std::string_view line) {
    Hash hash{};
    crypto_hash_sha256(hash.data(), raw(line), line.size());
    const Json record = Json::parse(line, nullptr, false);
    const std::uint64_t number = record.is_object() ? number_in(record, "seq") : 0;
    if (number == 0) { // no record: they count from 1
        if (torn_) {
            return fmt::format("what follows record {} is no record", last_);
        }
        torn_ = Torn{line.size(), hash};
        return std::nullopt;
    }
    const auto previous = bytes_in<32>(record, "previous");
    if (!previous) {
        return fmt::format("record {} does not say which one it follows", number);
    }
    if (torn_) {
        // It stays in the chain: the record of the next start vouches for it
        if (text_in(record, "event") != "start" || number_in(record, "torn_bytes") != torn_->bytes || *previous != torn_->hash) {
            return fmt::format("the line after record {} is no record", last_);
        }
        previous_ = torn_->hash;
        torn_.reset();
    }
    if (first_ == 0) {
        first_ = number;
        if (number == 1 && *previous != previous_) {
            return std::string("record 1 does not begin the log");
        }
    } else if (number != last_ + 1) {
        return number > last_ + 1 ? fmt::format("record {} is missing: {} follows {}", last_ + 1, number, last_)
                                  : fmt::format("record {} is not in its place: it follows {}", number, last_);
    } else if (*previous != previous_) {
        return fmt::format("record {} was changed: {} was written after another one", last_, number);
    }
    if (text_in(record, "event") == "checkpoint") {
        const auto signature = bytes_in<crypto_sign_BYTES>(record, "signature");
        const auto key = bytes_in<std::tuple_size_v<AuditKey>>(record, "key");
        const auto text = line.substr(0, line.rfind(",\"signature\":"));
        if (!signature || !key || *key != key_ ||
            crypto_sign_verify_detached(signature->data(), raw(text), text.size(), key_.data()) != 0) {
            return key && *key != key_ ? fmt::format("record {} is signed with another key", number)
                                       : fmt::format("the signature of record {} is not valid", number);
        }
        signed_ = number;
        ++signatures_;
    }
    previous_ = hash;
    last_ = number;
    return std::nullopt;
}

std::optional<std::string> AuditChecker::finish(std::string_view rest, std::uint64_t at_least) const {
    if (last_ == 0) {
        return std::string("there is no record in it");
    }
    if (torn_ || !rest.empty()) {
        return fmt::format("the record after {} is cut", last_);
    }
    if (last_ < at_least) {
        return fmt::format("it is cut after record {}: the daemon has written {}", last_, at_least);
    }
    if (signed_ != last_) {
        return fmt::format("the records after {} are not signed: the log is cut, or it was copied while it was written", signed_);
    }
    return std::nullopt;
}

} // namespace joblet::cli
