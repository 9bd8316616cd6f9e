// Descriptors that the broker gives into keeping, so that a new broker can have them again. Nothing here looks at them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "shared/fd.h"
#include "shared/id.h"

namespace joblet::jobletd {

inline constexpr std::size_t kStoredKeysMax = 8192; // about twice as many as there are slots

class DescriptorStore {
  public:
    using Entries = std::map<JobId, std::vector<Fd>>;

    enum class Put : std::uint8_t { Done, Malformed, Full };
    // 1 to kStoredDescriptorsMax of them; what was there under that key is closed.
    Put put(const JobId& key, std::vector<Fd> descriptors);
    // An unknown key is no error: the broker may repeat itself after a restart.
    void drop(const JobId& key);

    [[nodiscard]] const Entries& entries() const {
        return entries_;
    }

  private:
    Entries entries_;
};

} // namespace joblet::jobletd
