// What rnx doctor found, as it is shown. Pure; every text ends with a newline.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"

namespace joblet::cli {

struct CheckView {
    std::string subject; // "backend btrfs"
    bool ok = false;
    std::string detail; // what was found
    std::string lost;   // not ok: what does not work without it
    std::string remedy; // not ok: how to get it
};

struct ReportView {
    bool asked = true; // false: the daemon did not answer, and all that follows is rnx's own
    std::vector<CheckView> checks;
    std::vector<std::string> differences; // between store, records and kernel
    bool compared = false;                // for differences was looked
    bool more_differences = false;        // there are others
};

// Checks are one below the other; what is wider than `width` goes on in the next line, nothing is cut.
std::string render_report(const ReportView& report, Format format, std::optional<unsigned> width);

} // namespace joblet::cli
