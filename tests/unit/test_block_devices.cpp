// The way from a file system to whole devices, through a tree that is made as the kernel makes sysfs.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "broker-root/kernel/block_devices.h"
#include "shared/fd.h"

using namespace joblet;
using namespace joblet::kernel;
using protocol::Device;

namespace {

namespace fs = std::filesystem;

constexpr BtrfsId kBtrfs = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
constexpr auto kBtrfsText = "12345678-9abc-def0-0123-456789abcdef";

std::string text_of(const Device& device) {
    return std::to_string(device.major) + ":" + std::to_string(device.minor);
}

class Sysfs {
  public:
    Sysfs() {
        std::string path = fs::temp_directory_path() / "block-devices-XXXXXX";
        REQUIRE(::mkdtemp(path.data()) != nullptr);
        path_ = path;
        fs::create_directories(path_ / "dev/block");
        directory_ = Fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(directory_.valid());
    }
    ~Sysfs() {
        fs::remove_all(path_);
    }
    Sysfs(const Sysfs&) = delete;
    Sysfs& operator=(const Sysfs&) = delete;
    Sysfs(Sysfs&&) = delete;
    Sysfs& operator=(Sysfs&&) = delete;

    // In devices/; `place` is "virtual/block/dm-0", of a partition "pci/block/sda/sda1".
    void has(const std::string& place, const Device& device) {
        const fs::path at = path_ / "devices" / place;
        fs::create_directories(at);
        write(at / "dev", text_of(device) + "\n");
        if (at.parent_path().filename() != "block") {
            write(at / "partition", "1\n");
        } else {
            fs::create_directory(at / "slaves");
        }
        fs::create_directory_symlink("../../devices/" + place, path_ / "dev/block" / text_of(device));
        places_[at.filename()] = place;
    }
    void is_made_of(const std::string& name, const std::string& part) {
        fs::create_directory_symlink("../../../../" + places_[part], path_ / "devices" / places_[name] / "slaves" / part);
    }
    void btrfs_has(const std::string& name) {
        fs::create_directories(path_ / "fs/btrfs" / kBtrfsText / "devices");
        fs::create_directory_symlink("../../../../devices/" + places_[name], path_ / "fs/btrfs" / kBtrfsText / "devices" / name);
    }
    static void write(const fs::path& path, const std::string& text) {
        std::ofstream(path, std::ios::trunc) << text;
    }
    [[nodiscard]] fs::path at(const std::string& name) const {
        return path_ / "devices" / places_.at(name);
    }

    // Below a loop device is what `loops` says.
    std::map<std::uint32_t, FileSystemSource> loops;
    [[nodiscard]] Result<std::vector<Device>> below(const FileSystemSource& source, std::size_t most = 8) const {
        return whole_devices(directory_.get(), source, most, [this](const Device& loop) -> Result<FileSystemSource> {
            const auto found = loops.find(loop.minor);
            return found == loops.end() ? std::unexpected(ENXIO) : Result<FileSystemSource>(found->second);
        });
    }
    [[nodiscard]] Result<std::vector<Device>> below(const Device& device, std::size_t most = 8) const {
        return below(FileSystemSource{.device = device, .btrfs = std::nullopt}, most);
    }

  private:
    fs::path path_;
    Fd directory_;
    std::map<std::string, std::string> places_;
};

constexpr Device kSda{8, 0};
constexpr Device kSda1{8, 1};
constexpr Device kSdb{8, 16};
constexpr Device kSdb3{259, 3}; // partitions beyond the fifteenth are numbered elsewhere
constexpr Device kDm0{253, 0};
constexpr Device kLoop0{7, 0};

struct TwoDisks : Sysfs {
    TwoDisks() {
        has("pci/block/sda", kSda);
        has("pci/block/sda/sda1", kSda1);
        has("pci/block/sdb", kSdb);
        has("pci/block/sdb/sdb3", kSdb3);
    }
};

using Devices = std::vector<Device>;

int error_of(const auto& result) {
    return result ? 0 : result.error();
}

} // namespace

TEST_CASE("a disk is itself, a partition is its disk") {
    const TwoDisks sysfs;
    CHECK(sysfs.below(kSda) == Devices{kSda});
    CHECK(sysfs.below(kSda1) == Devices{kSda});
    CHECK(sysfs.below(kSdb3) == Devices{kSdb});
}

TEST_CASE("what device mapper or md has made is what it was made of, each once") {
    TwoDisks sysfs;
    sysfs.has("virtual/block/dm-0", kDm0);
    sysfs.is_made_of("dm-0", "sda1");
    sysfs.is_made_of("dm-0", "sdb3");
    auto found = sysfs.below(kDm0);
    REQUIRE(found);
    CHECK((*found == Devices{kSda, kSdb} || *found == Devices{kSdb, kSda}));

    sysfs.has("virtual/block/dm-1", {253, 1}); // encrypted, on the first one and a disk that this is on already
    sysfs.is_made_of("dm-1", "dm-0");
    sysfs.is_made_of("dm-1", "sdb");
    found = sysfs.below(Device{253, 1});
    REQUIRE(found);
    CHECK(found->size() == 2);
}

TEST_CASE("a loop device is itself and what its file is on") {
    TwoDisks sysfs;
    sysfs.has("virtual/block/loop0", kLoop0);
    CHECK(error_of(sysfs.below(kLoop0)) == ENXIO);
    sysfs.loops[0] = {.device = kSdb3, .btrfs = std::nullopt};
    CHECK(sysfs.below(kLoop0) == Devices{kLoop0, kSdb});

    sysfs.has("virtual/block/loop0/loop0p1", {259, 9}); // a partition of it
    CHECK(sysfs.below(Device{259, 9}) == Devices{kLoop0, kSdb});

    sysfs.has("virtual/block/loop5", {7, 5}); // and one within the other
    sysfs.loops[5] = {.device = kLoop0, .btrfs = std::nullopt};
    CHECK(sysfs.below(Device{7, 5}) == Devices{{7, 5}, kLoop0, kSdb});
}

TEST_CASE("btrfs is all of its devices, which have no number in common") {
    TwoDisks sysfs;
    const FileSystemSource btrfs{.device = {0, 41}, .btrfs = kBtrfs};
    CHECK(error_of(sysfs.below(btrfs)) == ENODEV);
    sysfs.btrfs_has("sda1");
    CHECK(sysfs.below(btrfs) == Devices{kSda});
    sysfs.btrfs_has("sdb");
    const auto found = sysfs.below(btrfs);
    REQUIRE(found);
    CHECK((*found == Devices{kSda, kSdb} || *found == Devices{kSdb, kSda}));

    sysfs.has("virtual/block/loop0", kLoop0); // an image on it
    sysfs.loops[0] = btrfs;
    REQUIRE(sysfs.below(kLoop0));
    CHECK(sysfs.below(kLoop0)->size() == 3);
    CHECK(sysfs.below(kLoop0)->front() == kLoop0);
}

TEST_CASE("what is not known is no device") {
    const TwoDisks sysfs;
    CHECK(error_of(sysfs.below(Device{8, 32})) == ENODEV);
    CHECK(error_of(sysfs.below(Device{0, 25})) == ENODEV); // tmpfs, overlay
}

TEST_CASE("too many and too deep are errors, never a part of the answer") {
    TwoDisks sysfs;
    sysfs.has("virtual/block/dm-0", kDm0);
    sysfs.is_made_of("dm-0", "sda");
    sysfs.is_made_of("dm-0", "sdb");
    CHECK(sysfs.below(kDm0, 2));
    CHECK(error_of(sysfs.below(kDm0, 1)) == E2BIG);

    sysfs.has("virtual/block/dm-1", {253, 1}); // of itself, which no kernel allows
    sysfs.is_made_of("dm-1", "dm-1");
    CHECK(error_of(sysfs.below(Device{253, 1})) == ELOOP);
    sysfs.is_made_of("dm-1", "dm-0");
    CHECK_FALSE(sysfs.below(Device{253, 1}));
}

TEST_CASE("a text that is not as it should be is an error") {
    TwoDisks sysfs;
    for (const char* const text :
         {"", "\n", "8:0", "8\n", "8:\n", ":0\n", "8:0 \n", " 8:0\n", "8:-1\n", "8:0\n8:16\n", "0:3\n", "8:4294967296\n"}) {
        Sysfs::write(sysfs.at("sda") / "dev", text);
        CHECK_MESSAGE(error_of(sysfs.below(kSda1)) == EBADMSG, text);
    }
    Sysfs::write(sysfs.at("sda") / "dev", std::string(10000, '8'));
    CHECK(error_of(sysfs.below(kSda1)) == EFBIG);
}

TEST_CASE("links that lead out of sysfs are not followed") {
    TwoDisks sysfs;
    const fs::path link = sysfs.at("sda").parent_path().parent_path().parent_path().parent_path() / "dev/block/9:0";
    fs::create_directory_symlink("../../../", link);
    CHECK(error_of(sysfs.below(Device{9, 0})) == EXDEV);
}

TEST_CASE("a file system without a device says so") {
    const Fd shared(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(shared.valid());
    CHECK(error_of(file_system_source(shared.get())) == ENODEV);
}
