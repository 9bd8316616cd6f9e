// What a kernel wrapper gives back: a value, or errno.
#pragma once

#include <cerrno>
#include <expected>

namespace joblet::kernel {

template <class T> using Result = std::expected<T, int>; // error: errno, never 0

inline std::unexpected<int> last_errno() {
    return std::unexpected(errno);
}

} // namespace joblet::kernel
