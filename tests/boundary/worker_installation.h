// What a worker works on: an installation of its own, on the file system that a test wants.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "shared/id.h"

namespace joblet::testing {

// Given: below the directory that the environment variable JOBLET_TEST_QUOTA_STORE names, which has project quotas.
enum class StoreKind : std::uint8_t { Plain, Btrfs, BtrfsWithoutQuotas, Given };

// An empty directory in `parent`, removed at the end with all that is in it.
class TemporaryRoot {
  public:
    explicit TemporaryRoot(const std::string& parent);
    ~TemporaryRoot();
    TemporaryRoot(const TemporaryRoot&) = delete;
    TemporaryRoot& operator=(const TemporaryRoot&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const {
        return path_;
    }

  private:
    std::filesystem::path path_;
};

// A btrfs in a file at <root>/btrfs, mounted at `at`; unmounted at the end, when its loop device is waited for.
class BtrfsMount {
  public:
    BtrfsMount(const std::filesystem::path& root, std::filesystem::path at, bool quotas);
    ~BtrfsMount();
    BtrfsMount(const BtrfsMount&) = delete;
    BtrfsMount& operator=(const BtrfsMount&) = delete;

  private:
    std::filesystem::path at_;
    std::string image_;
};

// A root with every directory jobletd would have made and a small base "minimal"; removed at the end.
class Installation {
  public:
    explicit Installation(StoreKind store = StoreKind::Plain);

    [[nodiscard]] const std::filesystem::path& root() const {
        return root_.path();
    }
    [[nodiscard]] std::filesystem::path state() const {
        return root() / "var/lib/joblet";
    }
    [[nodiscard]] std::filesystem::path volume(const VolumeId& id) const {
        return state() / "volumes" / to_string(id);
    }
    [[nodiscard]] std::filesystem::path trashed(const VolumeId& id) const {
        return state() / "trash" / to_string(id);
    }
    [[nodiscard]] std::filesystem::path ended(const JobId& id) const {
        return root() / "opt/joblet/jobs" / to_string(id);
    }
    [[nodiscard]] std::filesystem::path running(const JobId& id) const {
        return root() / "run/joblet/jobs" / to_string(id);
    }
    // Loop devices bound to the image of a volume in here.
    [[nodiscard]] int loops() const;

  private:
    TemporaryRoot root_;
    std::unique_ptr<BtrfsMount> btrfs_; // before what is in it
};

} // namespace joblet::testing
