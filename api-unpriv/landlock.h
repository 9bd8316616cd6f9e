// Landlock (landlock(7), Linux 5.13 and later): what this process may do with files, besides its system call filter, which comes
// later and lets it open nothing at all. This one is there from before the database is opened, and what is in that file was
// written by nobody to be trusted.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

namespace joblet::api {

enum class Landlock : std::uint8_t { On, KernelHasNone };

// From here on this process, and each thread that it starts, opens files below `directory` only, to read, write, make, rename and
// remove regular files there, and /dev/urandom to read; runs no program; and, where the kernel knows how, binds and connects no TCP
// port, reaches no abstract socket and signals nobody outside. For good. no_new_privs must be set.
//
// KernelHasNone: it is older than 5.13, was built without, or has it switched off (lsm= on its command line). A directory that
// cannot be opened is none: nothing can be opened then. An error is a sentence.
std::expected<Landlock, std::string> restrict_files_to(const std::string& directory);

} // namespace joblet::api
