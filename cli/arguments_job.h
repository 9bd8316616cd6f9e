// The words of rnx job. Only for arguments*.cpp.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/grammar.h"

namespace joblet::cli {

class JobGrammar {
  public:
    JobGrammar(CLI::App& rnx, CommonOptions& options);

    [[nodiscard]] const CLI::App* app() const {
        return job_;
    }
    // What was typed. Throws Refused. Precondition: one of the commands was parsed.
    [[nodiscard]] Command take() const;

  private:
    using Take = Command (JobGrammar::*)() const;
    struct Entry {
        const CLI::App* app;
        Take take;
    };
    struct Description {
        std::string name;
        std::string what;
        std::string usage; // after "rnx job "
        std::string examples;
    };

    CLI::App& add(const Description& description, CommonOptions& options, Take taker);
    void add_to_show(CommonOptions& options);
    void add_to_end(CommonOptions& options);
    void add_names(CLI::App& command);

    [[nodiscard]] Command take_list() const;
    [[nodiscard]] Command take_inspect() const;
    [[nodiscard]] Command take_logs() const;
    [[nodiscard]] Command take_stop() const;
    [[nodiscard]] Command take_kill() const;
    [[nodiscard]] Command take_wait() const;
    [[nodiscard]] Command take_remove() const;
    [[nodiscard]] Command take_prune() const;
    [[nodiscard]] const std::vector<std::string>& take_names() const;

    CLI::App* job_;
    std::vector<Entry> entries_;

    // As typed; empty: not given.
    std::string name_;
    std::vector<std::string> names_;
    std::string state_;
    std::string tail_;
    std::string grace_;
    std::string signal_;
    ScopeOptions scope_;
    bool quiet_ = false;
    bool follow_ = false;
    bool timestamps_ = false;
    bool stdout_ = false;
    bool stderr_ = false;
    bool force_ = false;
};

} // namespace joblet::cli
