#include "api-unpriv/io_limits.h"

#include <fmt/format.h>

#include "shared/size.h"

namespace joblet::api {

Outcome<void> check_io(std::string_view field, const protocol::IoLimits& io) {
    struct Row {
        std::string_view name;
        std::string_view what;
        std::uint64_t value;
        std::uint64_t least;
    };
    for (const auto& row : {Row{"readBytes", "bytes read", io.read_bytes, protocol::kIoBytesMin},
                            Row{"writeBytes", "bytes written", io.write_bytes, protocol::kIoBytesMin},
                            Row{"readOperations", "read operations", io.read_operations, protocol::kIoOperationsMin},
                            Row{"writeOperations", "write operations", io.write_operations, protocol::kIoOperationsMin}}) {
        if (row.value != 0 && (row.value < row.least || row.value > protocol::kIoLimitMax)) {
            return std::unexpected(
                invalid(fmt::format("{}.{}", field, row.name),
                        fmt::format("a limit of {} per second is {} to {}, not {}", row.what, row.least, protocol::kIoLimitMax, row.value),
                        "0, or leaving it out, is no limit"));
        }
    }
    return {};
}

} // namespace joblet::api
