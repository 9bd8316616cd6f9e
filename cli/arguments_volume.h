// The words of rnx volume. Only for arguments*.cpp.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/grammar.h"
#include "cli/limit_words.h"

namespace joblet::cli {

class VolumeGrammar {
  public:
    VolumeGrammar(CLI::App& rnx, CommonOptions& options);

    [[nodiscard]] const CLI::App* app() const {
        return volume_;
    }
    // What was typed. Throws Refused. Precondition: one of the commands was parsed.
    [[nodiscard]] Command take() const;

  private:
    using Take = Command (VolumeGrammar::*)() const;
    struct Entry {
        const CLI::App* app;
        Take take;
    };
    struct Description {
        std::string name;
        std::string what;
        std::string usage; // after "rnx volume "
        std::string examples;
    };

    CLI::App& add(const Description& description, CommonOptions& options, Take taker);
    void add_create(CommonOptions& options);
    void add_list(CommonOptions& options);
    void add_for_several(CommonOptions& options);
    void add_for_one(CommonOptions& options);
    void add_for_jobs(CommonOptions& options);
    void add_name(CLI::App& command);

    [[nodiscard]] Command take_create() const;
    [[nodiscard]] Command take_list() const;
    [[nodiscard]] Command take_inspect() const;
    [[nodiscard]] Command take_label() const;
    [[nodiscard]] Command take_rename() const;
    [[nodiscard]] Command take_resize() const;
    [[nodiscard]] Command take_usage() const;
    [[nodiscard]] Command take_remove() const;
    [[nodiscard]] Command take_restore() const;
    [[nodiscard]] Command take_protect() const;
    [[nodiscard]] Command take_unprotect() const;
    [[nodiscard]] Command take_attach() const;
    [[nodiscard]] Command take_detach() const;
    [[nodiscard]] const std::string& take_name() const;
    [[nodiscard]] const std::vector<std::string>& take_names() const;

    CLI::App* volume_;
    std::vector<Entry> entries_;

    // As typed; empty: not given.
    std::string name_;
    std::string new_name_;
    std::string job_;
    std::vector<std::string> names_;
    std::string type_;
    std::string backend_;
    CapacityOptions capacity_;
    IoOptions io_;
    std::string status_;
    std::string sort_;
    std::vector<std::string> labels_; // of --label, --filter, or the words of `label`
    ScopeOptions scope_;
    bool trash_ = false;
    bool reverse_ = false;
    bool quiet_ = false;
    bool force_ = false;
    bool now_ = false;
    bool wait_ = false;
    bool read_only_ = false;
};

} // namespace joblet::cli
