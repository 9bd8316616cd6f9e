#include <nlohmann/json.hpp>

#include "shared/protocol.h"
#include "tests/tables/process_tables.h"
#include "tests/tables/reference.h"

namespace joblet::testing {

namespace {

using json = nlohmann::ordered_json;

json conditions(const std::array<ArgumentRule, 4>& rules) {
    json out = json::array();
    for (const auto& rule : rules) {
        const auto add = [&](const char* test) {
            out.push_back({{"test", test}, {"argument", rule.argument}, {"mask", rule.mask}, {"value", rule.value}});
        };
        switch (rule.test) {
        case ArgumentRule::Test::None:
            break;
        case ArgumentRule::Test::Equal:
            add("equal");
            break;
        case ArgumentRule::Test::MaskedEqual:
            add("masked");
            break;
        case ArgumentRule::Test::LessOrEqual:
            add("at_most");
            break;
        }
    }
    return out;
}

const char* others(OtherCalls others) {
    switch (others) {
    case OtherCalls::KillProcess:
        return "kill";
    case OtherCalls::FailWithEPERM:
        return "EPERM";
    case OtherCalls::LeaveToAllowlist:
        break;
    }
    return "allow";
}

json table_object(const ProcessTable& table) {
    json calls = json::array();
    for (const auto& row : table.calls) {
        calls.push_back({{"number", row.number}, {"name", row.name}, {"arguments", conditions(row.arguments)}});
    }
    json refusals = json::array();
    for (const auto& row : table.refusals) {
        refusals.push_back({{"number", row.number}, {"name", row.name}, {"errno", row.error}, {"arguments", conditions(row.arguments)}});
    }
    return {{"process", table.process}, {"source", table.source},       {"others", others(table.others)},
            {"own", table.own.size()},  {"inherited", table.inherited}, {"calls", calls},
            {"refusals", refusals}};
}

json names(const std::vector<int>& capabilities) {
    json out = json::array();
    for (const int capability : capabilities) {
        out.push_back(capability_name(capability));
    }
    return out;
}

} // namespace

std::string tables_json() {
    json tables = json::array();
    for (const auto& table : process_tables()) {
        tables.push_back(table_object(table));
    }
    json capabilities = json::array();
    for (const auto& row : process_capabilities()) {
        capabilities.push_back({{"process", row.process}, {"effective", names(row.effective)}, {"on_demand", names(row.on_demand)}});
    }
    const json all = {{"requests", protocol::kRequests.size()}, {"tables", tables}, {"capabilities", capabilities}};
    return all.dump(1) + "\n";
}

} // namespace joblet::testing
