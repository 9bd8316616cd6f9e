// The audit log as a file: one JSON object a line, each with the SHA-256 of the line before, and checkpoints that an Ed25519 key
// signs which only root can read. What a line says is put together here from ids, numbers and words of our own; docs/audit.md
// describes it for whoever checks it. Nothing waits for the disk: whoever wants that syncs file().
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker-root/kernel/result.h"
#include "shared/fd.h"
#include "shared/id.h"

namespace joblet::broker {

// The part of a line that says what happened: `"event":"begin","uid":1000`.
class AuditFields {
  public:
    explicit AuditFields(std::string_view event) {
        add("event", event);
    }
    // `word` is one of ours: nothing in it needs to be escaped.
    AuditFields& add(std::string_view name, std::string_view word);
    template <std::unsigned_integral Number> AuditFields& add(std::string_view name, Number number) {
        return add_number(name, number);
    }
    template <class Tag> AuditFields& add(std::string_view name, const Id<Tag>& id) {
        return add(name, std::string_view(to_string(id)));
    }
    // A list of ids, in the order given.
    AuditFields& add_list(std::string_view name, std::span<const std::string> words);

    [[nodiscard]] const std::string& text() const {
        return text_;
    }

  private:
    AuditFields& add_number(std::string_view name, std::uint64_t number);
    void name_it(std::string_view name);

    std::string text_;
};

class AuditLog {
  public:
    using Hash = std::array<unsigned char, 32>;
    // Of crypto_sign_ed25519: seed and public key, 64 bytes.
    using SecretKey = std::array<unsigned char, 64>;

    // The file audit.jsonl in `directory` (made if there is none), for this process alone; goes on after what it has, and says so
    // ("start"). Rotates when it is longer than `file_bytes`. An error is a sentence.
    static std::expected<AuditLog, std::string> open(Fd directory, const SecretKey& key, std::uint64_t file_bytes);

    // The record's number; it is in the file when this returns, not on disk yet. Otherwise errno, and the file is as it was.
    kernel::Result<std::uint64_t> append(const AuditFields& fields);
    // There is room for so many more records, whatever else fills the file system meanwhile.
    kernel::Result<void> reserve(std::size_t records);
    // Signs all there is, unless that is signed already.
    kernel::Result<void> sign();

    [[nodiscard]] const Fd& file() const {
        return file_;
    }
    // Files that were put aside since it was last asked, which may not be on disk yet.
    std::vector<Fd> put_aside() {
        return std::exchange(put_aside_, {});
    }
    [[nodiscard]] std::uint64_t last() const { // number of the last record
        return next_ - 1;
    }
    [[nodiscard]] std::uint64_t unsigned_records() const {
        return unsigned_;
    }

  private:
    AuditLog(Fd directory, const SecretKey& key, std::uint64_t file_bytes)
        : directory_(std::move(directory)), key_(key), file_bytes_(file_bytes) {}

    std::expected<void, std::string> begin();
    // Where the chain ended; `torn`: bytes of a line that was not written to its end.
    kernel::Result<std::uint64_t> take_up(const Fd& file);
    kernel::Result<void> write_line(const std::string& line);
    kernel::Result<void> write_record(std::string line);
    std::string begun(const AuditFields& fields) const;
    void rotate();

    Fd directory_;
    SecretKey key_;
    std::uint64_t file_bytes_;
    Fd file_;
    std::vector<Fd> put_aside_;
    std::uint64_t size_ = 0;
    std::uint64_t reserved_ = 0; // end of the blocks that the file has
    std::uint64_t next_ = 1;
    std::uint64_t unsigned_ = 0;
    Hash previous_{};
    bool is_broken_ = false; // a part of a line could not be taken back
};

// The key that signs: <state>/audit.key, made if there is none; its public half is written beside the log, audit.pub. An error is a
// sentence.
std::expected<AuditLog::SecretKey, std::string> load_audit_key(int state, int logs);

} // namespace joblet::broker
