// The words of rnx run. Only for arguments*.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "cli/grammar.h"
#include "cli/limit_words.h"

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
    void add_ways();
    void add_world();
    void add_process();
    void check_ways() const;
    void take_volumes(Run& run) const;
    void take_world(Run& run) const;
    void take_process(Run& run) const;

    CLI::App* run_;

    // As typed; empty: not given.
    std::vector<std::string> volumes_;
    std::vector<std::string> variables_;
    std::vector<std::string> environment_files_;
    std::string name_;
    std::string base_;
    std::string host_name_;
    std::string working_directory_;
    std::string user_;
    std::string timeout_;
    std::string network_;
    std::string work_size_;
    std::string tmp_size_;
    std::string log_size_;
    JobLimitOptions limits_;
    bool terminal_ = false;
    bool interactive_ = false;
    bool detached_ = false;
    bool remove_ = false;
    bool read_only_work_ = false;
    bool dry_run_ = false;
};

} // namespace joblet::cli
