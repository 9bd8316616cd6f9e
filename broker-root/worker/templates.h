// Templates: mount namespaces whose read-only root was built and pivoted once, kept by descriptor. A job enters one and
// unshares its own copy of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker-root/worker/failure.h"
#include "broker-root/worker/own_namespace.h"

namespace joblet::worker {

class Templates {
  public:
    static constexpr std::size_t kKept = 64;
    static constexpr std::size_t kKeptPerOwner = 8;

    explicit Templates(const OwnNamespace& own) : own_(own) {}

    // The namespace for this base with a mount point for each target; built if there is none yet. The descriptor is good
    // until the next call.
    Outcome<int> get(std::string_view base, std::uint32_t owner, std::vector<std::string> targets);

  private:
    struct Template {
        std::string base;
        std::uint32_t owner = 0;
        std::vector<std::string> targets; // sorted
        Fd mount_namespace;
    };
    void make_room_for(std::uint32_t owner);
    [[nodiscard]] kernel::Result<Fd> build(const UsableBase& base, std::span<const std::string> targets) const;

    const OwnNamespace& own_;
    std::list<Template> kept_; // least recently used last
};

} // namespace joblet::worker
