// What a job can find out about itself, as one JSON object.
#pragma once

#include <string>

namespace guest {

// Keys: namespaces {name: link}, pid ppid pgid session, uid gid [real, effective, saved], groups, uid_map gid_map
// [[inside, outside, count]], capabilities {inheritable permitted effective bounding ambient: 16 hexadecimal digits},
// no_new_privs, seccomp, signals {blocked ignored caught}, umask, cwd, hostname, name, terminal, cgroup, descriptors [{fd type
// flags close_on_exec}], rlimits {name: [soft, hard], -1 unlimited}, mounts [{target fstype flags super_options}], directories
// {path: {writable bytes inodes uid gid mode}}, root [names], environment {name: value}.
std::string report();

} // namespace guest
