// A command that could not be carried out. Thrown where it is found, shown once, in main.
#pragma once

#include <exception>
#include <utility>

#include "shared/error.h"

namespace joblet::cli {

class CommandFailure : public std::exception {
  public:
    explicit CommandFailure(Error error) : error_(std::move(error)) {}
    [[nodiscard]] const Error& error() const {
        return error_;
    }
    [[nodiscard]] const char* what() const noexcept override {
        return error_.message.c_str();
    }

  private:
    Error error_;
};

} // namespace joblet::cli
