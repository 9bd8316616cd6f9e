// A tree on the host that nothing may touch: everything that can be seen of it, before and after.
#pragma once

#include <string>

namespace joblet::testing {

class Canary {
  public:
    // Makes the tree at `directory`, which must not be there.
    explicit Canary(std::string directory);

    [[nodiscard]] const std::string& directory() const {
        return directory_;
    }
    // Empty, or what is not as it was.
    [[nodiscard]] std::string difference() const;

  private:
    // Every entry with its kind, owner, mode, times (of change as well) and contents.
    [[nodiscard]] std::string fingerprint() const;

    std::string directory_;
    std::string before_;
};

} // namespace joblet::testing
