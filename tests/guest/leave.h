// Ways out of the quota of a volume.
#pragma once

#include <string>

namespace guest {

// Tries them from the volume at `from`, where another one at `to` is needed into that; an object of errno's names.
std::string leave(const std::string& from, const std::string& to);

} // namespace guest
