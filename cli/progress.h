// Says on the terminal of stderr what takes its time, and takes it back when it is over.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace joblet::cli {

// `what … 3s`, cut to less than `columns`. Pure.
std::string progress_text(std::string_view what, std::chrono::seconds elapsed, unsigned columns);

class Progress {
  public:
    // `what` is going on: "creating volume \"data\"". Empty: nothing is ever shown.
    explicit Progress(std::string what) : what_(std::move(what)) {}
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress();
    // Nothing if stderr is no terminal.
    void show(std::chrono::seconds elapsed);

  private:
    std::string what_;
    bool is_shown_ = false;
};

} // namespace joblet::cli
