#include "tests/boundary/attacker/audit_view.h"

#include <algorithm>
#include <fstream>

#include <fmt/format.h>

namespace joblet::testing {

namespace {

// As docs/audit.md says
bool is_on_record(const protocol::Request& request) {
    if (const auto* const measure = std::get_if<protocol::MeasureVolume>(&request)) {
        return measure->authority == protocol::Authority::Admin;
    }
    switch (protocol::header_of(request).type) {
    case protocol::RequestType::StatVolume:
    case protocol::RequestType::ListVolumes:
    case protocol::RequestType::ListJobs:
    case protocol::RequestType::ListBases:
    case protocol::RequestType::HostReport:
    case protocol::RequestType::CloseConnection:
    case protocol::RequestType::CreateChannel:
        return false;
    default:
        return true;
    }
}

} // namespace

void AuditView::expect(const protocol::Request& request, const std::optional<Asker>& asker) {
    if (!is_on_record(request)) {
        return;
    }
    const auto& header = protocol::header_of(request);
    expected_.push_back({std::string(protocol::row_of(header.type).name),
                         header.connection,
                         asker ? std::optional(asker->uid) : std::nullopt,
                         header.sequence,
                         {},
                         false});
}

void AuditView::expect_answer(std::uint64_t sequence, ErrorCode code) {
    const auto answered = [&](Operation& one) {
        if (one.sequence == sequence && one.verdict.empty() && !one.forgiven) {
            one.verdict = error_code_name(code);
            return true;
        }
        return false;
    };
    for (auto& [number, one] : begun_) {
        if (answered(one)) {
            return;
        }
    }
    (void)std::ranges::any_of(expected_, answered);
}

void AuditView::forgive_unanswered() {
    for (auto& [number, one] : begun_) {
        one.forgiven = one.forgiven || one.verdict.empty();
    }
    for (auto& one : expected_) {
        one.forgiven = one.forgiven || one.verdict.empty();
    }
}

void AuditView::take(const nlohmann::json& record) {
    const std::string event = record.value("event", "");
    if (event == "api_ended") {
        const std::string why = record.value("why", "");
        const auto is_expected = [&why](const std::string& word) { return word.empty() ? why != "closed" : why == word; };
        if (partings_.empty() || !is_expected(partings_.front())) {
            wrong_.push_back(fmt::format("the end of an API is on record as '{}', expected was '{}'", why,
                                         partings_.empty() ? "none" : partings_.front()));
        }
        if (!partings_.empty()) {
            partings_.pop_front();
        }
        return;
    }
    if (event == "begin") {
        const auto fits = [&record](const Operation& one) {
            return one.request == record.value("request", "") && one.connection == record.value("connection", std::uint64_t{0}) &&
                   (one.uid ? record.contains("uid") && record["uid"] == *one.uid : !record.contains("uid"));
        };
        // In order, but for what was never read because its API had ended
        while (!expected_.empty() && expected_.front().forgiven && !fits(expected_.front())) {
            expected_.pop_front();
        }
        if (expected_.empty() || !fits(expected_.front())) {
            wrong_.push_back(fmt::format("a record of something that was not asked for next: {}", record.dump()));
            return;
        }
        begun_.emplace(record["seq"].get<std::uint64_t>(), std::move(expected_.front()));
        expected_.pop_front();
    } else if (event == "end") {
        const auto found = begun_.find(record.value("begin", std::uint64_t{0}));
        if (found == begun_.end()) {
            wrong_.push_back(fmt::format("a record of the end of nothing: {}", record.dump()));
            return;
        }
        if (!found->second.verdict.empty() && found->second.verdict != record.value("verdict", "")) {
            wrong_.push_back(fmt::format("another verdict on record than {}: {}", found->second.verdict, record.dump()));
        }
        begun_.erase(found);
    }
}

void AuditView::read_on() {
    std::ifstream file(file_, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(read_));
    for (std::string line; std::getline(file, line) && !file.eof();) {
        read_ += line.size() + 1;
        const auto record = nlohmann::json::parse(line, nullptr, false);
        if (!record.is_object()) {
            wrong_.push_back("a line of the audit log is no record: " + line);
            continue;
        }
        take(record);
    }
}

std::vector<std::string> AuditView::differences() {
    read_on();
    std::vector<std::string> out = wrong_;
    for (const auto& one : expected_) {
        if (!one.forgiven) {
            out.push_back(fmt::format("{} of connection {:#x} has no record", one.request, one.connection));
        }
    }
    for (const auto& [number, one] : begun_) {
        out.push_back(fmt::format("record {}, {}, has no end", number, one.request));
    }
    for (const auto& why : partings_) {
        out.push_back(fmt::format("the end of an API ('{}') has no record", why));
    }
    return out;
}

} // namespace joblet::testing
