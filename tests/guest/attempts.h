// Everything that a job must not be able to do, tried.
#pragma once

#include <string>

namespace guest {

// {name: "ok" | errno's name | signal's name}, see tests/guest/expectations.h. `directory` is one that the job may write to; the
// names "in_*" are tried there.
std::string attempts(const std::string& directory);

} // namespace guest
