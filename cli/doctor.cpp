#include "cli/doctor.h"

#include <optional>
#include <utility>

#include "cli/client.h"
#include "cli/output.h"
#include "cli/output_doctor.h"
#include "cli/terminal.h"

namespace joblet::cli {
namespace {

struct FromDaemon {
    ReportView report;
    SlotRange slots;
};

FromDaemon ask(const std::string& socket) {
    Client client(socket);
    const auto answer = client.wait(client.host().doctorRequest().send(), "trying what this host can hold");
    const auto report = value_of(answer.getResult());
    FromDaemon told;
    for (const auto check : report.getChecks()) {
        told.report.checks.push_back({.subject = text_of(check.getSubject()),
                                      .ok = check.getOk(),
                                      .detail = text_of(check.getDetail()),
                                      .lost = text_of(check.getLost()),
                                      .remedy = text_of(check.getRemedy())});
    }
    for (const auto difference : report.getDifferences()) {
        told.report.differences.push_back(text_of(difference));
    }
    told.report.compared = report.getCompared();
    told.report.more_differences = report.getMoreDifferences();
    told.slots = {.first = report.getSlotFirst(), .count = report.getSlotCount()};
    return told;
}

} // namespace

int show_health(const HostTexts& texts, const CommandLine& line) {
    std::optional<FromDaemon> told;
    std::optional<Error> problem;
    try {
        told = ask(line.socket);
    } catch (const CommandFailure& failure) {
        // What rnx found by itself may be the very reason why there is no daemon
        problem = failure.error();
    }
    ReportView report = told ? std::move(told->report) : ReportView{};
    report.asked = told.has_value();
    auto checks = check_host(texts, told ? std::optional(told->slots) : std::nullopt);
    report.checks.insert(report.checks.begin(), std::make_move_iterator(checks.begin()), std::make_move_iterator(checks.end()));
    write_stdout(render_report(report, line.format, terminal_width()));
    if (problem) {
        write_stderr(render_error(*problem, line.format));
        return kExitRefused;
    }
    return report.differences.empty() && !report.more_differences ? 0 : kExitRefused;
}

} // namespace joblet::cli
