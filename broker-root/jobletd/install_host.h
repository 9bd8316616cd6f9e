// The host base's own etc: as little as programs of the host need to work in a job, and nothing that says who uses this host.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "broker-root/layout.h"

namespace joblet::jobletd {

struct HostBaseRow {
    enum class Kind : std::uint8_t { Directory, Text, Copy, Link };
    std::string_view path; // below the base; after the directory it lies in
    Kind kind{};
    std::string_view says; // Text: the contents. Copy: of this file of the host's, left out if it is none. Link: where to
    std::string_view why;
};
std::span<const HostBaseRow> host_base_rows();

// At every start: makes bases/host/etc what the rows say, because the host's files change. A file that differs is replaced by
// renaming, so that a job that sees it, being older than this start, has either; what no row names is removed. An error is a
// sentence with a hint.
std::expected<void, std::string> install_host_base(const Layout& layout);

} // namespace joblet::jobletd
