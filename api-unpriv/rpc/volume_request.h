// What clients ask of volumes, in our shapes.
#pragma once

#include <string>
#include <vector>

#include <schema/joblet.capnp.h>

#include "api-unpriv/errors.h"
#include "api-unpriv/volumes/manager.h"

namespace joblet::api {

// What this version cannot do is refused, never ignored.
Outcome<NewVolume> new_volume_from(rpc::VolumeService::CreateVolumeParams::Reader params);
Outcome<VolumeQuery> query_from(rpc::VolumeService::ListVolumesParams::Reader params);

struct SelectedVolume {
    std::string volume;
    Scope scope;
};
Outcome<SelectedVolume> selected_volume(rpc::VolumeSelector::Reader selector);

// Texts of a list that has a bound of `most`: at most one more than that, so that whoever asked for too many is refused.
std::vector<std::string> some_texts_from(capnp::List<capnp::Text>::Reader texts, std::size_t most);

} // namespace joblet::api
