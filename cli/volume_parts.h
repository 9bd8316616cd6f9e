// What the commands of rnx volume have in common.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/client.h"
#include "cli/command_parts.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace joblet::cli {

VolumeView view_of(rpc::Volume::Reader volume);

void fill(rpc::VolumeSelector::Builder builder, const std::string& name, const Scope& scope = {});
void fill(capnp::List<rpc::Label>::Builder builder, const std::vector<Label>& labels);

// The result of a command that made or changed one volume: its name, or the whole of it for programs.
void show_changed(const VolumeView& volume, Format format);

} // namespace joblet::cli
