// rnx __complete …: what completion scripts run.
#pragma once

#include "cli/arguments.h"

namespace joblet::cli {

// Prints what the last word can become, one in a line, a tab and what it is behind it; ":files" if it is a file. Never says that
// something is wrong: whoever presses Tab wants to go on typing.
int complete_words(const Complete& complete, const CommandLine& line);

} // namespace joblet::cli
