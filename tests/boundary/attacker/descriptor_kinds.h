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
    std::vector<Fd> with; // other ends, which have to stay open
};

std::vector<DescriptorKind> descriptor_kinds(const Canary& canary);

} // namespace joblet::testing
