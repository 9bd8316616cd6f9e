// What rnx run asks of the daemon, and what it hands over.
#pragma once

#include <string>
#include <utility>
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
void set_control(rpc::RunRequest::Builder request, Fd control);

// The job's control socket, our end and the job's. In it wait our stdin, stdout and stderr for the job, or its wish for a terminal.
// Throws CommandFailure, also if they are something that no job may have.
std::pair<Fd, Fd> make_control_pair(const Run& run);

} // namespace joblet::cli
