// What the tables say, for people (docs/system-calls.md) and for programs (scripts/root-size, tests/system/check_trace).
#pragma once

#include <string>

namespace joblet::testing {

std::string tables_markdown();

// {"requests": N, "tables": [{process, source, others: "kill"|"EPERM"|"allow", own: N, inherited: […],
//   calls: [{number, name, arguments: [{test: "equal"|"masked"|"at_most", argument, mask, value}]}],
//   refusals: [the same, with errno]}],
//  "capabilities": [{process, effective: […], on_demand: […]}]}
std::string tables_json();

} // namespace joblet::testing
