// The prepared statements of joblet.db, and one use of one of them. For the files of this directory only.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include <sqlite3.h>

#include "api-unpriv/store/database.h"

namespace joblet::api {

struct Database::Statements {
    Statement put_volume, erase_volume, erase_labels, put_label;
    Statement put_job, erase_job, erase_arguments, erase_job_volumes, put_argument, put_job_volume;
    Statement erase_job_devices, put_job_device;
    Statement load_volumes, load_labels, load_jobs, load_arguments, load_job_volumes, load_job_devices;
    Statement begin, commit, roll_back;
};

// One use of a prepared statement: binds in order, steps, and leaves it ready for the next use.
class Database::Query {
  public:
    explicit Query(const Statement& statement) : statement_(statement.get()) {}
    Query(const Query&) = delete;
    Query& operator=(const Query&) = delete;
    ~Query() {
        sqlite3_reset(statement_);
        sqlite3_clear_bindings(statement_);
    }

    Query& add(std::int64_t value) {
        sqlite3_bind_int64(statement_, ++bound_, value);
        return *this;
    }
    Query& add_number(std::uint64_t value) {
        return add(static_cast<std::int64_t>(value));
    }
    Query& add(const protocol::IoLimits& io) {
        return add_number(io.read_bytes).add_number(io.write_bytes).add_number(io.read_operations).add_number(io.write_operations);
    }
    // The bytes must stay until the query is done
    Query& add_text(std::string_view text) {
        sqlite3_bind_text64(statement_, ++bound_, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
        return *this;
    }
    Query& add_bytes(std::string_view bytes) {
        sqlite3_bind_blob64(statement_, ++bound_, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(), SQLITE_STATIC);
        return *this;
    }
    template <class Tag> Query& add(const Id<Tag>& id) {
        return add_bytes({reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()});
    }

    int step() {
        return sqlite3_step(statement_);
    }
    [[nodiscard]] std::int64_t integer(int column) const {
        return sqlite3_column_int64(statement_, column);
    }
    [[nodiscard]] std::uint64_t number(int column) const {
        return static_cast<std::uint64_t>(integer(column));
    }
    // In four columns, the first of which is given.
    [[nodiscard]] protocol::IoLimits io(int column) const {
        return {number(column), number(column + 1), number(column + 2), number(column + 3)};
    }
    [[nodiscard]] std::string bytes(int column) const {
        const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
        const int size = sqlite3_column_bytes(statement_, column);
        return data == nullptr ? std::string() : std::string(data, static_cast<std::size_t>(size));
    }
    template <class IdType> [[nodiscard]] IdType id(int column) const {
        IdType out;
        const std::string raw = bytes(column);
        if (raw.size() == out.bytes.size()) {
            std::memcpy(out.bytes.data(), raw.data(), raw.size());
        }
        return out;
    }

  private:
    sqlite3_stmt* statement_;
    int bound_ = 0;
};

} // namespace joblet::api
