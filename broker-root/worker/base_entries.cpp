#include "broker-root/worker/base_entries.h"

#include <algorithm>
#include <string>

#include "broker-root/kernel/record_io.h"

namespace joblet::worker {

BaseEntry look_at_base_entry(int base, const char* name) {
    const auto status = kernel::status_beneath(base, name);
    if (!status) {
        return status.error() == ENOENT ? BaseEntry::Missing : BaseEntry::Unfit;
    }
    if (S_ISDIR(status->st_mode)) {
        return BaseEntry::Directory;
    }
    const bool may_be_link = std::ranges::find(kMergedEntries, std::string_view(name)) != kMergedEntries.end();
    if (S_ISLNK(status->st_mode) && may_be_link) {
        const auto merged = kernel::symlink_says(base, name, (std::string("usr/") + name).c_str());
        return merged && *merged ? BaseEntry::MergedLink : BaseEntry::Unfit;
    }
    return BaseEntry::Unfit;
}

std::string_view unfit_for_base(int base) {
    for (const char* const name : kBaseEntries) {
        if (look_at_base_entry(base, name) == BaseEntry::Unfit) {
            return name;
        }
    }
    for (const char* const name : kJobEntries) {
        if (look_at_base_entry(base, name) == BaseEntry::Unfit) {
            return name;
        }
    }
    return {};
}

} // namespace joblet::worker
