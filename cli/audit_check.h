// The chain of an audit log, as docs/audit.md describes it: whether nothing in it was changed, taken out, moved or cut off. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace joblet::cli {

using AuditKey = std::array<unsigned char, 32>; // Ed25519, public

// 64 hexadecimal digits, and white space after them.
std::optional<AuditKey> parse_audit_key(std::string_view text);

// Lines in the order of the log, of one file or of several that follow each other.
class AuditChecker {
  public:
    explicit AuditChecker(const AuditKey& key) : key_(key) {}

    // A line without its newline. A sentence says what is wrong with it; then there is no use in going on.
    std::optional<std::string> take(std::string_view line);
    // After the last one. `rest`: what came after the last newline. `at_least`: number of the last record that is known of from
    // elsewhere, 0: nothing is.
    [[nodiscard]] std::optional<std::string> finish(std::string_view rest, std::uint64_t at_least) const;

    [[nodiscard]] std::uint64_t first() const { // number of the first record; 0: there is none
        return first_;
    }
    [[nodiscard]] std::uint64_t last() const {
        return last_;
    }
    [[nodiscard]] std::uint64_t signatures() const {
        return signatures_;
    }

  private:
    using Hash = std::array<unsigned char, 32>;
    struct Torn { // a line that was being written when the machine stopped
        std::size_t bytes;
        Hash hash;
    };

    AuditKey key_;
    std::uint64_t first_ = 0;
    std::uint64_t last_ = 0;
    std::uint64_t signed_ = 0; // number of the last checkpoint
    std::uint64_t signatures_ = 0;
    Hash previous_{};
    std::optional<Torn> torn_;
};

} // namespace joblet::cli
