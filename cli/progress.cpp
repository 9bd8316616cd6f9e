#include "cli/progress.h"

#include <unistd.h>

#include "cli/output.h"
#include "cli/table.h"
#include "cli/terminal.h"

namespace joblet::cli {
namespace {

constexpr std::string_view kEraseLine = "\r\x1b[K";

} // namespace

std::string progress_text(std::string_view what, std::chrono::seconds elapsed, unsigned columns) {
    // One column less than there are: some terminals go on in the next line after the last one
    return cut(printable(what) + " … " + std::to_string(elapsed.count()) + "s", columns == 0 ? 0 : columns - 1);
}

Progress::~Progress() {
    if (is_shown_) {
        write_stderr(kEraseLine);
    }
}

void Progress::show(std::chrono::seconds elapsed) {
    const auto columns = what_.empty() ? std::nullopt : terminal_width(STDERR_FILENO);
    if (columns) {
        write_stderr(std::string(kEraseLine) + progress_text(what_, elapsed, *columns));
        is_shown_ = true;
    }
}

} // namespace joblet::cli
