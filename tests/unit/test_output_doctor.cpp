// What rnx doctor shows.
#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include "cli/output_doctor.h"
#include "cli/table.h"

using namespace joblet::cli;

namespace {

ReportView example() {
    ReportView report;
    report.checks = {{.subject = "kernel", .ok = true, .detail = "6.1.0-18-amd64", .lost = "", .remedy = ""},
                     {.subject = "backend btrfs",
                      .ok = false,
                      .detail = "the store is on another file system",
                      .lost = "volumes with --backend=btrfs cannot be made, and no volume is as cheap to make as one of them",
                      .remedy = "put the store on btrfs"}};
    report.compared = true;
    return report;
}

} // namespace

TEST_CASE("what is missing is told with what is lost and how to get it") {
    CHECK(render_report(example(), Format::Table, std::nullopt) ==
          "ok       kernel         6.1.0-18-amd64\n"
          "missing  backend btrfs  the store is on another file system\n"
          "         lost: volumes with --backend=btrfs cannot be made, and no volume is as cheap to make as one of them\n"
          "         to get it: put the store on btrfs\n"
          "\n"
          "Store, records and kernel agree\n");
}

TEST_CASE("what is wider than the terminal goes on in the next line, and nothing is lost of it") {
    CHECK(render_report(example(), Format::Table, 80U)
              .find("         lost: volumes with --backend=btrfs cannot be made, and no volume is as\n"
                    "               cheap to make as one of them\n") != std::string::npos);
    for (unsigned width = 40; width < 120; ++width) {
        std::istringstream lines(render_report(example(), Format::Table, width));
        for (std::string line; std::getline(lines, line);) {
            CHECK(columns_of(line) <= width);
        }
    }
    // Narrower than the marks and subjects it is what it can be
    CHECK(render_report(example(), Format::Table, 1U).find("kernel") != std::string::npos);
}

TEST_CASE("differences are listed, and that nothing was compared is told") {
    auto report = example();
    report.differences = {"volume a is not in the store", "job b \x1b[2J has no group"};
    report.more_differences = true;
    CHECK(render_report(report, Format::Table, std::nullopt)
              .ends_with("\n"
                         "Store, records and kernel differ:\n"
                         "- volume a is not in the store\n"
                         "- job b ?[2J has no group\n"
                         "- there are others\n"));
    report = example();
    report.compared = false;
    CHECK(
        render_report(report, Format::Table, std::nullopt).ends_with("\nStore, records and kernel: not compared, only admins are told\n"));
}

TEST_CASE("without a daemon nothing was compared, for another reason") {
    auto report = example();
    report.compared = false;
    report.asked = false;
    CHECK(render_report(report, Format::Table, std::nullopt).ends_with("not compared, the daemon could not be asked\n"));
}

TEST_CASE("a report for programs has its checks, its differences and whether it looked for them") {
    auto report = example();
    report.differences = {"x"};
    CHECK(nlohmann::ordered_json::parse(render_report(report, Format::Json, 20U)).dump() ==
          R"({"checks":[{"subject":"kernel","ok":true,"detail":"6.1.0-18-amd64","lost":null,"remedy":null},)"
          R"({"subject":"backend btrfs","ok":false,"detail":"the store is on another file system",)"
          R"("lost":"volumes with --backend=btrfs cannot be made, and no volume is as cheap to make as one of them",)"
          R"("remedy":"put the store on btrfs"}],"differences":["x"],"more_differences":false,"compared":true})");
    const auto yaml = YAML::Load(render_report(report, Format::Yaml, std::nullopt));
    CHECK_FALSE(yaml["checks"][1]["ok"].as<bool>());
    CHECK(yaml["differences"][0].as<std::string>() == "x");
}
