#include "broker-root/jobletd/descriptor_store.h"

#include <utility>

#include "broker-root/jobletd/supervision.h"

namespace joblet::jobletd {

DescriptorStore::Put DescriptorStore::put(const JobId& key, std::vector<Fd> descriptors) {
    if (key.is_none() || descriptors.empty() || descriptors.size() > kStoredDescriptorsMax) {
        return Put::Malformed;
    }
    if (entries_.size() >= kStoredKeysMax && !entries_.contains(key)) {
        return Put::Full;
    }
    entries_.insert_or_assign(key, std::move(descriptors));
    return Put::Done;
}

void DescriptorStore::drop(const JobId& key) {
    entries_.erase(key);
}

} // namespace joblet::jobletd
