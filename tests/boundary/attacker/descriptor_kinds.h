// Every kind of descriptor that there is to be had here.
#pragma once

#include <string>
#include <vector>

#include "shared/fd.h"
#include "tests/boundary/attacker/canary.h"

namespace joblet::testing {

struct DescriptorKind {
    std::string name;
    Fd fd;
    std::vector<Fd> with;    // other ends, which have to stay open
    bool is_control = false; // good as a job's control socket
    bool is_spec = false;    // good as its sealed memory, whatever is in it
};

std::vector<DescriptorKind> descriptor_kinds(const Canary& canary);

} // namespace joblet::testing
