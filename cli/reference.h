// The reference of rnx, written from what it parses. Pure.
#pragma once

#include <string>
#include <string_view>

#include "cli/command_tree.h"

namespace joblet::cli {

// docs/cli.md
std::string reference_markdown(const CommandText& rnx);

// The source, in scdoc's language, of the page `name` of section 1: "rnx" or "rnx-" and one of its commands. Empty: no such page.
std::string reference_page(const CommandText& rnx, std::string_view name);

} // namespace joblet::cli
