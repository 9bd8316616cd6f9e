#include "broker-root/worker/base_entries.h"

#include <algorithm>
#include <cerrno>
#include <string>

#include "broker-root/kernel/record_io.h"

namespace joblet::worker {

namespace {

bool is_among(std::string_view name, const auto& names) {
    return std::ranges::find(names, name) != names.end();
}

} // namespace

bool is_roots_alone(const struct stat& status) {
    return status.st_uid == 0 && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

BaseEntry look_at_base_entry(int base, const char* name) {
    const auto status = kernel::status_beneath(base, name);
    if (!status) {
        return status.error() == ENOENT ? BaseEntry::Missing : BaseEntry::NoDirectory;
    }
    if (S_ISDIR(status->st_mode)) {
        return is_among(name, kBaseEntries) && !is_roots_alone(*status) ? BaseEntry::OthersWrite : BaseEntry::Directory;
    }
    if (!S_ISLNK(status->st_mode)) {
        return BaseEntry::NoDirectory;
    }
    const auto merged = kernel::symlink_says(base, name, (std::string("usr/") + name).c_str());
    return is_among(name, kMergedEntries) && merged && *merged ? BaseEntry::MergedLink : BaseEntry::StrayLink;
}

} // namespace joblet::worker
