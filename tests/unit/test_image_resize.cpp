// The two system jobs that resize an image, run as they are with the real programs on real files, which need no root for that.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "broker-root/worker/image_geometry.h"
#include "shared/fd.h"

using namespace joblet;
using namespace joblet::worker;

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

// Its exit status. What it says goes to `output`, or nowhere.
int run(const std::vector<std::string>& words, int input, int output) {
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    auto texts = words;
    std::vector<char*> argv(texts.size() + 1, nullptr);
    std::ranges::transform(texts, argv.begin(), [](std::string& text) { return text.data(); });
    std::vector<char*> no_environment(1, nullptr); // as a system job has none
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::dup2(input >= 0 ? input : null.get(), 0);
        ::dup2(output >= 0 ? output : null.get(), 1);
        ::dup2(null.get(), 2);
        ::execve(argv[0], argv.data(), no_environment.data());
        ::_exit(99);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string text_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
}

// Images in a directory of their own, removed at the end.
class Images {
  public:
    Images() {
        std::string pattern = (fs::temp_directory_path() / "joblet-unit-XXXXXX").string();
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        directory_ = pattern;
    }
    ~Images() {
        std::error_code ignored;
        fs::remove_all(directory_, ignored);
    }
    Images(const Images&) = delete;
    Images& operator=(const Images&) = delete;

    [[nodiscard]] fs::path at(const std::string& name) const {
        return directory_ / name;
    }
    // Open for reading and writing; made with that length if it is not there.
    [[nodiscard]] Fd open(const std::string& name, std::uint64_t bytes = 0) const {
        Fd file(::open(at(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(file.valid());
        if (bytes != 0) {
            REQUIRE(::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0);
        }
        return file;
    }
    // A new volume's image with one file in it, "content".
    [[nodiscard]] VolumeRecord make(const std::string& name, std::uint64_t size, std::uint64_t filled) const {
        VolumeRecord record;
        record.size_bytes = size;
        record.image_bytes = image_bytes_for(size, 0);
        const Fd image = open(name, record.image_bytes);
        REQUIRE(run(mkfs_arguments(record), image.get(), -1) == 0);
        std::string content(filled, '\0');
        std::uint32_t state = 1;
        for (char& byte : content) {
            state = state * 1664525 + 1013904223; // so that no block is like another
            byte = static_cast<char>(state >> 24U);
        }
        std::ofstream(at("content"), std::ios::binary) << content;
        REQUIRE(debugfs(name, "-w", "write " + at("content").string() + " content") == 0);
        return record;
    }
    [[nodiscard]] int debugfs(const std::string& name, const char* how, const std::string& request) const {
        return run({"/usr/sbin/debugfs", how, "-R", request, at(name).string()}, -1, -1);
    }
    [[nodiscard]] bool still_holds_content(const std::string& name) const {
        fs::remove(at("dumped"));
        return run({"/usr/sbin/debugfs", "-R", "dump content " + at("dumped").string(), at(name).string()}, -1, -1) == 0 &&
               text_of(at("dumped")) == text_of(at("content"));
    }
    [[nodiscard]] bool is_clean(const std::string& name) const {
        return run({"/usr/sbin/e2fsck", "-f", "-n", at(name).string()}, -1, -1) == 0;
    }
    // Of dumpe2fs -h
    [[nodiscard]] std::string property(const std::string& name, const std::string& key) const {
        const Fd said = open("said");
        REQUIRE(::ftruncate(said.get(), 0) == 0);
        REQUIRE(run({"/usr/sbin/dumpe2fs", "-h", at(name).string()}, -1, said.get()) == 0);
        const std::string text = text_of(at("said"));
        const auto found = text.find("\n" + key + ":");
        REQUIRE(found != std::string::npos);
        const auto value = text.find_first_not_of(' ', found + key.size() + 2);
        return text.substr(value, text.find('\n', value) - value);
    }
    // The two jobs; the exit status of the second. What they make has the length that its size needs.
    [[nodiscard]] int resize(const std::string& from, const std::string& to, std::uint64_t size) const {
        VolumeRecord record;
        record.size_bytes = size;
        record.image_bytes = resized_image_bytes_for(size, 0);
        const Fd old_image(::open(at(from).c_str(), O_RDONLY | O_CLOEXEC));
        const Fd new_image = open(to, record.image_bytes);
        REQUIRE(run(copy_arguments(), old_image.get(), new_image.get()) == 0);
        return run(resize_arguments(record), new_image.get(), -1);
    }

  private:
    fs::path directory_;
};

} // namespace

TEST_CASE("an image grows, and keeps what is in it") {
    const Images images;
    auto from = 4 * kMiB;
    auto to = 100 * kMiB;
    SUBCASE("to another number of blocks") {}
    SUBCASE("a little") {
        to = 5 * kMiB;
    }
    SUBCASE("large blocks") {
        from = 40 * kMiB;
        to = 2000 * kMiB;
    }
    const auto before = images.make("old", from, 3 * kMiB);
    REQUIRE(images.resize("old", "new", to) == 0);
    CHECK(images.is_clean("new"));
    CHECK(images.still_holds_content("new"));
    const auto blocks = std::stoull(images.property("new", "Block count"));
    const auto block = std::stoull(images.property("new", "Block size"));
    const auto free = std::stoull(images.property("new", "Free blocks"));
    CHECK(blocks * block == resized_image_bytes_for(to, 0));
    // What ext4 keeps for itself when it is mounted
    const auto kept = std::min<std::uint64_t>(blocks / 50, 4096);
    CHECK((free - kept) * block + 3 * kMiB >= to);
    CHECK(images.property("new", "Filesystem features").find("has_journal") != std::string::npos);
    CHECK(images.property("new", "Errors behavior") == "Remount read-only");
    // The old one is as it was
    CHECK(fs::file_size(images.at("old")) == before.image_bytes);
    CHECK(images.still_holds_content("old"));
}

TEST_CASE("an image shrinks to its new length, and keeps what is in it") {
    const Images images;
    auto from = 100 * kMiB;
    auto to = 50 * kMiB;
    SUBCASE("a little") {}
    SUBCASE("much, and its journal with it") {
        from = 1024 * kMiB;
        to = 100 * kMiB;
    }
    (void)images.make("old", from, 20 * kMiB);
    REQUIRE(images.resize("old", "new", to) == 0);
    CHECK(images.is_clean("new"));
    CHECK(images.still_holds_content("new"));
    const auto blocks = std::stoull(images.property("new", "Block count"));
    const auto block = std::stoull(images.property("new", "Block size"));
    const auto free = std::stoull(images.property("new", "Free blocks"));
    CHECK(blocks * block <= resized_image_bytes_for(to, 0));
    CHECK((free - std::min<std::uint64_t>(blocks / 50, 4096)) * block + 20 * kMiB >= to);
    CHECK(images.property("new", "Filesystem features").find("has_journal") != std::string::npos);
}

TEST_CASE("an image does not become smaller than what is in it") {
    const Images images;
    (void)images.make("old", 64 * kMiB, 40 * kMiB);
    CHECK(images.resize("old", "new", 20 * kMiB) != 0);
    CHECK(images.still_holds_content("old"));
}

TEST_CASE("what is no file system is not resized") {
    const Images images;
    (void)images.open("old", 4 * kMiB);
    CHECK(images.resize("old", "new", 8 * kMiB) != 0);
}

TEST_CASE("a damaged file system is repaired on the way, and the original is left alone") {
    const Images images;
    (void)images.make("old", 16 * kMiB, 3 * kMiB);
    REQUIRE(images.debugfs("old", "-w", "set_inode_field content links_count 5") == 0);
    CHECK_FALSE(images.is_clean("old"));
    CHECK(images.resize("old", "new", 32 * kMiB) == 0);
    CHECK(images.is_clean("new"));
    CHECK(images.still_holds_content("new"));
    CHECK_FALSE(images.is_clean("old"));
}
