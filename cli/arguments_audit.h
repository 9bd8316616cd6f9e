// The words of rnx audit. Only for arguments*.cpp.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/grammar.h"

namespace joblet::cli {

class AuditGrammar {
  public:
    AuditGrammar(CLI::App& rnx, CommonOptions& options);

    [[nodiscard]] const CLI::App* app() const {
        return audit_;
    }
    // What was typed. Throws Refused. Precondition: one of the commands was parsed.
    [[nodiscard]] Command take() const;

  private:
    CLI::App* audit_;
    CLI::App* verify_;
    CLI::App* list_;

    // As typed; empty: not given.
    std::vector<std::string> files_;
    std::string public_key_;
    std::string volume_;
    std::string job_;
    std::string user_;
    std::string since_;
};

} // namespace joblet::cli
