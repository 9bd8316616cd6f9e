#include "cli/table.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace joblet::cli {
namespace {

constexpr std::string_view kEllipsis = "…";
constexpr std::size_t kGap = 2;

struct Character {
    char32_t code;     // a byte that is not UTF-8: as Latin-1
    std::size_t bytes; // that it takes
};

// The first of `text`, which is not empty.
Character first_of(std::string_view text) {
    const auto byte = [text](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const std::size_t bytes = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : byte(0) >= 0xC0 ? 2 : 1;
    if (bytes == 1 || bytes > text.size()) {
        return {byte(0), 1};
    }
    char32_t code = byte(0) & (0xFFU >> (bytes + 1));
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((byte(i) & 0xC0U) != 0x80U) {
            return {byte(0), 1};
        }
        code = (code << 6U) | (byte(i) & 0x3FU);
    }
    return {code, bytes};
}

// Not wcwidth(3): without a locale it knows ASCII only, and a locale is a file.
std::size_t width_of(char32_t code) {
    struct Range {
        char32_t first;
        char32_t last;
    };
    // East Asian scripts, full width forms and pictures
    constexpr std::array kWide = {Range{0x1100, 0x115F},   Range{0x2E80, 0xA4CF},  Range{0xAC00, 0xD7A3}, Range{0xF900, 0xFAFF},
                                  Range{0xFE30, 0xFE6F},   Range{0xFF00, 0xFF60},  Range{0xFFE0, 0xFFE6}, Range{0x16FE0, 0x1B2FF},
                                  Range{0x1F000, 0x1FAFF}, Range{0x20000, 0x3FFFD}};
    return std::ranges::any_of(kWide, [code](const Range& range) { return code >= range.first && code <= range.last; }) ? 2 : 1;
}

std::size_t total_of(std::span<const std::size_t> widths) {
    return std::accumulate(widths.begin(), widths.end(), (widths.size() - 1) * kGap);
}

// What each column may take, so that all together fit if that can be had.
std::vector<std::size_t> fit(std::span<const TableColumn> columns, std::optional<unsigned> width) {
    std::vector<std::size_t> widths;
    std::vector<std::size_t> least;
    for (const auto& column : columns) {
        std::size_t widest = 0;
        for (const auto& cell : column) {
            widest = std::max(widest, columns_of(cell));
        }
        widths.push_back(widest);
        least.push_back(columns_of(column.front()));
    }
    const std::size_t total = total_of(widths);
    if (!width || total <= *width) {
        return widths;
    }
    std::size_t excess = total - *width;
    const std::size_t of_last = std::min(excess, widths.back() - least.back());
    widths.back() -= of_last;
    for (excess -= of_last; excess > 0; --excess) {
        std::optional<std::size_t> widest;
        for (std::size_t i = 0; i < widths.size(); ++i) {
            if (widths[i] > least[i] && (!widest || widths[i] >= widths[*widest])) {
                widest = i;
            }
        }
        if (!widest) {
            break;
        }
        --widths[*widest];
    }
    return widths;
}

} // namespace

std::size_t columns_of(std::string_view text) {
    std::size_t columns = 0;
    while (!text.empty()) {
        const auto [code, bytes] = first_of(text);
        columns += width_of(code);
        text.remove_prefix(bytes);
    }
    return columns;
}

std::string cut(std::string_view text, std::size_t columns) {
    if (columns_of(text) <= columns) {
        return std::string(text);
    }
    if (columns == 0) {
        return "";
    }
    std::size_t end = 0;
    for (std::size_t left = columns - 1;;) {
        const auto [code, bytes] = first_of(text.substr(end));
        if (width_of(code) > left) {
            break;
        }
        left -= width_of(code);
        end += bytes;
    }
    return std::string(text.substr(0, end)) + std::string(kEllipsis);
}

std::string padded(std::string_view text, std::size_t columns) {
    std::string out(text);
    out.append(columns - std::min(columns, columns_of(text)), ' ');
    return out;
}

std::vector<std::string> wrapped(std::string_view text, std::size_t columns) {
    std::vector<std::string> lines(1);
    std::size_t used = 0;
    while (!text.empty()) {
        const auto end = std::min(text.find(' '), text.size());
        auto word = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const std::size_t gap = lines.back().empty() ? 0 : 1;
        if (used + gap + columns_of(word) <= columns) {
            lines.back().append(gap, ' ').append(word);
            used += gap + columns_of(word);
            continue;
        }
        if (gap != 0) {
            lines.emplace_back();
            used = 0;
        }
        while (!word.empty()) {
            const auto [code, bytes] = first_of(word);
            // A character of two columns in one column goes beyond it: there is no other place for it
            if (used != 0 && used + width_of(code) > columns) {
                lines.emplace_back();
                used = 0;
            }
            lines.back().append(word.substr(0, bytes));
            used += width_of(code);
            word.remove_prefix(bytes);
        }
    }
    return lines;
}

std::string render_columns(std::span<const TableColumn> columns, std::optional<unsigned> width) {
    const auto widths = fit(columns, width);
    std::string text;
    for (std::size_t row = 0; row < columns.front().size(); ++row) {
        std::string line;
        for (std::size_t i = 0; i < columns.size(); ++i) {
            line += padded(cut(columns[i][row], widths[i]), widths[i] + kGap);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        text += (width ? cut(line, *width) : line) + "\n";
    }
    return text;
}

} // namespace joblet::cli
