#include "cli/output_doctor.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "cli/output.h"
#include "cli/structured.h"
#include "cli/table.h"

namespace joblet::cli {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kMarkWidth = 7; // "missing"

Json to_json(const ReportView& report) {
    auto checks = Json::array();
    for (const auto& check : report.checks) {
        checks.push_back({{"subject", check.subject},
                          {"ok", check.ok},
                          {"detail", check.detail},
                          {"lost", text_or_null(check.lost)},
                          {"remedy", text_or_null(check.remedy)}});
    }
    return {{"checks", std::move(checks)},
            {"differences", report.differences},
            {"more_differences", report.more_differences},
            {"compared", report.compared}};
}

class Page {
  public:
    explicit Page(std::optional<unsigned> width) : width_(width ? *width : std::numeric_limits<std::size_t>::max()) {}

    // `begin`, then `text`, whose further lines stand below its first one.
    void add(std::string_view begin, std::string_view text) {
        const auto indent = columns_of(begin);
        const auto lines = wrapped(text, width_ > indent ? width_ - indent : 1);
        for (std::size_t i = 0; i < lines.size(); ++i) {
            auto line = (i == 0 ? std::string(begin) : std::string(indent, ' ')) + lines[i];
            line.erase(line.find_last_not_of(' ') + 1);
            text_ += line + "\n";
        }
    }
    void add_empty() {
        text_ += "\n";
    }
    [[nodiscard]] const std::string& text() const {
        return text_;
    }

  private:
    std::size_t width_;
    std::string text_;
};

void add_checks(Page& page, const std::vector<CheckView>& checks) {
    std::size_t widest = 0;
    for (const auto& check : checks) {
        widest = std::max(widest, columns_of(printable(check.subject)));
    }
    const std::string indent(kMarkWidth + kGap, ' ');
    for (const auto& check : checks) {
        page.add(padded(check.ok ? "ok" : "missing", kMarkWidth + kGap) + padded(printable(check.subject), widest + kGap),
                 printable(check.detail));
        if (!check.lost.empty()) {
            page.add(indent + "lost: ", printable(check.lost));
        }
        if (!check.remedy.empty()) {
            page.add(indent + "to get it: ", printable(check.remedy));
        }
    }
}

void add_differences(Page& page, const ReportView& report) {
    if (!report.compared) {
        page.add("", report.asked ? "Store, records and kernel: not compared, only admins are told"
                                  : "Store, records and kernel: not compared, the daemon could not be asked");
        return;
    }
    if (report.differences.empty()) {
        page.add("", "Store, records and kernel agree");
        return;
    }
    page.add("", "Store, records and kernel differ:");
    for (const auto& difference : report.differences) {
        page.add("- ", printable(difference));
    }
    if (report.more_differences) {
        page.add("- ", "there are others");
    }
}

} // namespace

std::string render_report(const ReportView& report, Format format, std::optional<unsigned> width) {
    if (format != Format::Table) {
        return structured_text(to_json(report), format);
    }
    Page page(width);
    add_checks(page, report.checks);
    page.add_empty();
    add_differences(page, report);
    return page.text();
}

} // namespace joblet::cli
