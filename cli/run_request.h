// What rnx run asks of the daemon, and what it hands over.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/client.h"
#include "shared/fd.h"

namespace joblet::cli {

// What must be opened before rnx confines itself.
struct Opened {
    std::vector<Fd> environment_files;
    Fd output; // the terminal on stdout once more, for writing without waiting; invalid if there is none or it cannot be had
};
// Throws CommandFailure, naming the file.
Opened open_for(const Run& run);

// "NAME=VALUE" each, of the terminal, the files and the options; throws CommandFailure.
std::vector<std::string> environment_of(const Run& run, const Opened& opened);

void fill(rpc::RunRequest::Builder request, const Run& run, const std::vector<std::string>& environment);

// Throws CommandFailure if stdin, stdout or stderr are something that no job may have. A job with a terminal gets none of them.
void check_stdio(const Run& run);
// Puts them into our end of the job's control socket, where they wait for it, or its wish for a terminal. Throws CommandFailure.
void send_hello(int control, const Run& run);

} // namespace joblet::cli
