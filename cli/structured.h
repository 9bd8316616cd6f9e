// JSON and YAML. Only for output*.cpp.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/arguments.h"

namespace joblet::cli {

using Json = nlohmann::ordered_json; // keys in the order we write them: the same everywhere

Json time_or_null(std::int64_t ns);
Json text_or_null(const std::string& text);
Json limit_or_null(std::uint64_t limit); // 0: null

// ASCII only: nothing that a terminal would obey. `indent` -1: one line.
std::string json_text(const Json& value, int indent);
// JSON or YAML; a table is not its business.
std::string structured_text(const Json& value, Format format);

} // namespace joblet::cli
