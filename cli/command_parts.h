// What the commands for volumes and those for jobs have in common.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace joblet::cli {

void fill(rpc::Scope::Builder builder, const Scope& scope);
void fill(rpc::IoLimits::Builder builder, const protocol::IoLimits& io);
protocol::IoLimits io_of(rpc::IoLimits::Reader io);

// Calls `act` for each name. What is refused for one volume does not keep the others waiting for a second try: each refusal is
// shown, and the exit status is 1.
template <class Act> int for_each_name(const std::vector<std::string>& names, Format format, Act&& act) {
    int status = 0;
    for (const auto& name : names) {
        try {
            act(name);
        } catch (const CommandFailure& failure) {
            write_stderr(render_error(failure.error(), format));
            status = kExitRefused;
        }
    }
    return status;
}

} // namespace joblet::cli
