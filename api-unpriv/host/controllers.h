// The controllers of cgroup2 that hold limits of jobs, by name.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "shared/protocol_types.h"

namespace joblet::api {

struct ControllerName {
    std::uint32_t bit;
    std::string_view name; // as the kernel has it
};
inline constexpr std::array kControllerNames = {
    ControllerName{protocol::kControllerCpu, "cpu"},
    ControllerName{protocol::kControllerIo, "io"},
    ControllerName{protocol::kControllerMemory, "memory"},
    ControllerName{protocol::kControllerPids, "pids"},
};

inline std::vector<std::string> controller_names(std::uint32_t controllers) {
    std::vector<std::string> names;
    for (const auto& row : kControllerNames) {
        if ((controllers & row.bit) != 0) {
            names.emplace_back(row.name);
        }
    }
    return names;
}

} // namespace joblet::api
