// The words of rnx run. Only for arguments*.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "cli/grammar.h"

namespace joblet::cli {

class RunGrammar {
  public:
    RunGrammar(CLI::App& rnx, CommonOptions& options);

    [[nodiscard]] const CLI::App* app() const {
        return run_;
    }
    // What was typed; `command`: the words that are the job's. Throws Refused.
    [[nodiscard]] Run take(std::span<const std::string> command) const;

  private:
    CLI::App* run_;
    std::vector<std::string> volumes_;
};

} // namespace joblet::cli
