#include "tests/boundary/worker_installation.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <utility>

#include "tests/boundary/worker_harness.h"

namespace joblet::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kBtrfsBytes = 512U << 20U;

// What the kernel calls the file that a loop device is bound to; empty if it is bound to none.
std::string backing_file(const fs::path& device) {
    std::ifstream file(device / "loop/backing_file");
    std::string name;
    std::getline(file, name);
    return name;
}

bool is_bound(const std::string& image) {
    for (const auto& device : fs::directory_iterator("/sys/block")) {
        if (backing_file(device.path()) == image) {
            return true;
        }
    }
    return false;
}

std::string given_store() {
    const char* const given = std::getenv("JOBLET_TEST_QUOTA_STORE"); // NOLINT(concurrency-mt-unsafe): one thread
    if (given == nullptr) {
        throw std::runtime_error("JOBLET_TEST_QUOTA_STORE must name a directory with project quotas");
    }
    return given;
}

} // namespace

TemporaryRoot::TemporaryRoot(const std::string& parent) {
    std::string pattern = parent + "/joblet-worker-test-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr || ::chmod(pattern.c_str(), 0755) != 0) {
        throw std::runtime_error("no directory can be made in " + parent);
    }
    path_ = pattern;
}

TemporaryRoot::~TemporaryRoot() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

BtrfsMount::BtrfsMount(const fs::path& root, fs::path at, bool quotas) : at_(std::move(at)), image_(root / "btrfs") {
    write_text(image_, "");
    fs::resize_file(image_, kBtrfsBytes);
    run_command({"mkfs.btrfs", "-q", image_});
    run_command({"mount", "-t", "btrfs", "-o", "loop", image_, at_.string()});
    try {
        if (quotas) {
            run_command({"btrfs", "quota", "enable", at_.string()});
        }
    } catch (...) {
        ::umount2(at_.c_str(), MNT_DETACH);
        throw;
    }
}

BtrfsMount::~BtrfsMount() {
    constexpr std::chrono::seconds kPatience{10};
    constexpr std::chrono::milliseconds kPause{10};
    ::umount2(at_.c_str(), MNT_DETACH);
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (is_bound(image_) && std::chrono::steady_clock::now() < end) { // a worker that was killed holds it a moment longer
        std::this_thread::sleep_for(kPause);
    }
}

Installation::Installation(StoreKind store) : root_(store == StoreKind::Given ? given_store() : "/var/lib") {
    for (const char* const directory : {"etc/joblet", "var/lib/joblet", "opt/joblet/jobs", "run/joblet/jobs"}) {
        fs::create_directories(root() / directory);
    }
    if (store == StoreKind::Btrfs || store == StoreKind::BtrfsWithoutQuotas) {
        btrfs_ = std::make_unique<BtrfsMount>(root(), state(), store == StoreKind::Btrfs);
    }
    for (const char* const directory : {"volumes", "trash", "staging"}) {
        fs::create_directory(state() / directory);
        fs::permissions(state() / directory, fs::perms::owner_all);
    }
    const fs::path base = state() / "bases/minimal";
    fs::create_directories(base / "usr/bin");
    fs::create_directory(base / "etc");
    fs::create_directory(base / "lib");
    fs::create_symlink("usr/bin", base / "bin");
    write_text(base / "etc/of-base", "hello");
    write_text(base / "usr/bin/tool", "x");
    for (const char* const below : {"usr", "dev", "proc"}) {
        fs::create_directories(root() / "chroot" / below);
    }
    for (const char* const below : {"etc", "var", "opt", "run"}) {
        fs::create_directories((root() / "chroot").string() + (root() / below).string());
    }
}

int Installation::loops() const {
    int count = 0;
    for (const auto& device : fs::directory_iterator("/sys/block")) {
        // The worker's namespace shows it as "/volumes/<id>/image" of a detached tree; what is the same is the file.
        const std::string name = backing_file(device.path());
        for (const char* const directory : {"volumes", "trash", "staging"}) {
            for (const auto& volume : fs::directory_iterator(state() / directory)) {
                count += name.find(volume.path().filename().string()) != std::string::npos ? 1 : 0;
            }
        }
    }
    return count;
}

} // namespace joblet::testing
