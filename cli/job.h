// rnx job … and rnx base …
#pragma once

#include "cli/arguments.h"

namespace joblet::cli {

// Each returns the exit status; throws CommandFailure. Those for several jobs go on after one that is refused: each refusal is
// shown, and the exit status is 1.
int list_jobs(const JobList& list, const CommandLine& line);
int inspect_jobs(const JobInspect& inspect, const CommandLine& line);
int wait_for_jobs(const JobWait& wait, const CommandLine& line);
int stop_jobs(const JobStop& stop, const CommandLine& line);
int kill_jobs(const JobKill& kill, const CommandLine& line);
int remove_jobs(const JobRemove& remove, const CommandLine& line);
int prune_jobs(const JobPrune& prune, const CommandLine& line);

int show_log(const JobLogs& logs, const CommandLine& line);

int list_bases(const CommandLine& line);

} // namespace joblet::cli
