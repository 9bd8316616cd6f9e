// The audit log as the test reads it, line by line as it grows: each request that has a record has the two it should have.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/boundary/attacker/model.h"

namespace joblet::testing {

class AuditView {
  public:
    explicit AuditView(std::string file) : file_(std::move(file)) {}
    [[nodiscard]] const std::string& file() const {
        return file_;
    }

    // What was sent and will be on record, in this order.
    void expect(const protocol::Request& request, const std::optional<Asker>& asker);
    // The end of an API, and the word on record for it; empty: any offence, but not "closed".
    void expect_parting(std::string why) {
        partings_.push_back(std::move(why));
    }
    // What the API was not alive to see: of requests that are not answered yet some may have no record.
    void forgive_unanswered();
    // An answer came: both records are there before it.
    void expect_answer(std::uint64_t sequence, ErrorCode code);

    // Reads on. Differences, in sentences; none: everything that is there was expected, everything expected is there.
    std::vector<std::string> differences();

  private:
    struct Operation {
        std::string request;
        std::uint64_t connection = 0;
        std::optional<std::uint32_t> uid;
        std::uint64_t sequence = 0;
        std::string verdict; // empty: not answered
        bool forgiven = false;
    };
    void read_on();
    void take(const nlohmann::json& record);

    std::string file_;
    std::size_t read_ = 0;
    std::deque<Operation> expected_;
    std::map<std::uint64_t, Operation> begun_; // by the number of its record
    std::deque<std::string> partings_;
    std::vector<std::string> wrong_;
};

} // namespace joblet::testing
