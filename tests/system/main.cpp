#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cstdio>

#include "tests/system/installation.h"

namespace joblet::testing {

namespace {

// At the first failed check of a case, what the daemons had to say: their logs go with the installation.
struct LogPrinter : doctest::IReporter {
    explicit LogPrinter(const doctest::ContextOptions& /*options*/) {
        std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ); // seen as it comes, also through a pipe
    }

    void report_query(const doctest::QueryData& /*data*/) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats& /*stats*/) override {}
    void test_case_start(const doctest::TestCaseData& /*data*/) override {
        printed_ = false;
    }
    void test_case_reenter(const doctest::TestCaseData& /*data*/) override {}
    void test_case_end(const doctest::CurrentTestCaseStats& /*stats*/) override {}
    void test_case_exception(const doctest::TestCaseException& /*exception*/) override {}
    void subcase_start(const doctest::SubcaseSignature& /*signature*/) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData& assertion) override {
        if (assertion.m_failed && !printed_) {
            printed_ = true;
            print_logs();
        }
    }
    void log_message(const doctest::MessageData& /*message*/) override {}
    void test_case_skipped(const doctest::TestCaseData& /*data*/) override {}

  private:
    bool printed_ = false;
};

} // namespace

REGISTER_LISTENER("logs", 1, LogPrinter);

} // namespace joblet::testing
