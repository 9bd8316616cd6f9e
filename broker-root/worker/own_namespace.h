// The minimal mount namespace that a worker lives in: what it works with is attached here, each without children, so that
// it can be cloned cheaply and on Linux 6.1 at all. The host's mounts are gone from view, and never change.
#pragma once

#include <expected>
#include <map>
#include <string>
#include <vector>

#include "broker-root/broker/config.h"
#include "broker-root/kernel/result.h"
#include "broker-root/layout.h"
#include "broker-root/worker/store_devices.h"
#include "shared/fd.h"

namespace joblet::worker {

struct UsableBase {
    struct Inner {
        std::string path; // components below the root of a job
        Fd mount;
    };
    Fd directory;             // O_PATH; kBaseEntries lie in it
    std::vector<Inner> inner; // what is mounted in one of its entries, O_PATH
};

struct OwnNamespace {
    Fd proc;    // detached mount of proc
    Fd self;    // the namespace itself
    Fd devices; // the host's /dev, which is /dev here too: loop devices
    Fd nodes;   // tmpfs that is cloned to be a job's /dev: made while there still was CAP_MKNOD
    // Directories, open for reading; one mount, so that volumes can be renamed from one to the other
    Fd volumes;
    Fd trash;
    Fd staging;
    Fd ended_jobs;   // Layout::jobs()
    Fd running_jobs; // Layout::running_jobs()
    // By name, kSystemBase among them. A base that is missing or was refused is not there: neither can jobs on it be.
    std::map<std::string, UsableBase, std::less<>> bases;
    StoreDevices store_devices;                // found on the host
    std::vector<std::string> configured_bases; // of broker.toml, usable or not; sorted
};

// Enters it, for good. Needs SYS_ADMIN, SYS_CHROOT and MKNOD. Works in a chroot. An error is a sentence.
std::expected<OwnNamespace, std::string> enter_own_namespace(const Layout& layout, const BrokerConfig& config);
// From a job's or a template's. If that cannot be, nothing would be what it is taken for: the process ends.
void return_to_own(const OwnNamespace& own);

} // namespace joblet::worker
