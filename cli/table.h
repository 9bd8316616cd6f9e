// Text in columns. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace joblet::cli {

// Columns that a terminal gives to printable text: rather one too many than a line that wraps.
std::size_t columns_of(std::string_view text);

// At most `columns` of it; what is cut ends with "…".
std::string cut(std::string_view text, std::size_t columns);

// `text` and spaces, together at least `columns` wide.
std::string padded(std::string_view text, std::size_t columns);

// In lines of at most `columns`, which are at least one, parted at spaces; a word that is longer is parted anywhere. One empty line
// of an empty text.
std::vector<std::string> wrapped(std::string_view text, std::size_t columns);

// The title and then a cell for each row.
using TableColumn = std::vector<std::string>;

// One line for each row. No line is wider than `width` (nullopt: any): first the last column is cut, then the widest ones, none
// below its title, and what is still too wide at the end of the line. Precondition: printable text, columns of equal length.
std::string render_columns(std::span<const TableColumn> columns, std::optional<unsigned> width);

} // namespace joblet::cli
