// A file descriptor with one owner.
#pragma once

#include <unistd.h>

#include <utility>

namespace joblet {

class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() {
        reset();
    }

    [[nodiscard]] int get() const {
        return fd_;
    }
    [[nodiscard]] bool valid() const {
        return fd_ >= 0;
    }
    [[nodiscard]] int release() {
        return std::exchange(fd_, -1);
    }
    void reset() {
        if (fd_ >= 0) {
            ::close(std::exchange(fd_, -1));
        }
    }

  private:
    int fd_ = -1;
};

} // namespace joblet
