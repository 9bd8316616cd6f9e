// What this host can hold, and where store, records and kernel differ: the broker's facts as sentences.
#pragma once

#include <string>
#include <vector>

#include "api-unpriv/landlock.h"
#include "api-unpriv/volumes/index.h"
#include "shared/protocol_messages.h"

namespace joblet::api {

struct HostCheck {
    std::string subject;
    bool ok = false;
    std::string detail; // what was found
    std::string lost;   // not ok: what does not work without it
    std::string remedy; // not ok: how to get it
};
struct Report {
    std::vector<HostCheck> checks;
    std::vector<std::string> differences; // one sentence each
    bool compared = false;                // false: differences were not looked for
    bool more_differences = false;
    std::uint32_t slot_first = 0; // host uid
    std::uint32_t slot_count = 0;
    std::uint64_t audit_records = 0; // number of the last one
};

// Pure. `volumes` gives names to ids.
Report report_of(const protocol::HostFacts& facts, const VolumeIndex& volumes);
std::vector<HostCheck> checks_of(const protocol::HostFacts& facts);
// How joblet-api itself is kept from files that are not its own.
HostCheck own_files_check(Landlock landlock);
std::string sentence_of(const protocol::Difference& difference, const VolumeIndex& volumes);

} // namespace joblet::api
