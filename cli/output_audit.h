// Audit records, shown. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"

namespace joblet::cli {

// Whether a line is a record that is asked for; what is no record is not.
bool is_wanted(const std::string& line, const AuditList& list);
// Precondition: lines that are wanted. JSON and YAML: the records as they are, in a list.
std::string render_audit(const std::vector<std::string>& lines, Format format, std::optional<unsigned> width);

} // namespace joblet::cli
