#include "api-unpriv/landlock.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "shared/fd.h"

namespace joblet::api {

namespace {

// linux/landlock.h as of Linux 6.12; Debian 12's header ends with version 2.
constexpr std::uint64_t kExecute = 1ULL << 0U;
constexpr std::uint64_t kWriteFile = 1ULL << 1U;
constexpr std::uint64_t kReadFile = 1ULL << 2U;
constexpr std::uint64_t kReadDirectory = 1ULL << 3U;
constexpr std::uint64_t kRemoveDirectory = 1ULL << 4U;
constexpr std::uint64_t kRemoveFile = 1ULL << 5U;
constexpr std::uint64_t kMakeCharacterDevice = 1ULL << 6U;
constexpr std::uint64_t kMakeDirectory = 1ULL << 7U;
constexpr std::uint64_t kMakeFile = 1ULL << 8U;
constexpr std::uint64_t kMakeSocket = 1ULL << 9U;
constexpr std::uint64_t kMakeFifo = 1ULL << 10U;
constexpr std::uint64_t kMakeBlockDevice = 1ULL << 11U;
constexpr std::uint64_t kMakeSymlink = 1ULL << 12U;
constexpr std::uint64_t kMoveBetweenDirectories = 1ULL << 13U;
constexpr std::uint64_t kTruncate = 1ULL << 14U;
constexpr std::uint64_t kControlDevice = 1ULL << 15U;

constexpr std::uint64_t kBindTcp = 1ULL << 0U;
constexpr std::uint64_t kConnectTcp = 1ULL << 1U;

constexpr std::uint64_t kAbstractSockets = 1ULL << 0U;
constexpr std::uint64_t kSignals = 1ULL << 1U;

struct RulesetAttributes {
    std::uint64_t files = 0;
    std::uint64_t network = 0;
    std::uint64_t scoped = 0;
};
struct [[gnu::packed]] PathBeneath {
    std::uint64_t allowed = 0;
    std::int32_t parent = -1;
};
static_assert(sizeof(PathBeneath) == 12); // the kernel's is packed

constexpr unsigned kAskForVersion = 1;
constexpr int kRulePathBeneath = 1;

// What each version of the kernel's interface can take away, besides what the ones before it can. A kernel refuses bits that it does
// not know, and takes a longer struct whose end is zero.
struct Version {
    long number;
    RulesetAttributes adds;
};
constexpr std::array kVersions = {
    Version{1,
            {kExecute | kWriteFile | kReadFile | kReadDirectory | kRemoveDirectory | kRemoveFile | kMakeCharacterDevice | kMakeDirectory |
                 kMakeFile | kMakeSocket | kMakeFifo | kMakeBlockDevice | kMakeSymlink,
             0, 0}},
    Version{2, {kMoveBetweenDirectories, 0, 0}},
    Version{3, {kTruncate, 0, 0}},
    Version{4, {0, kBindTcp | kConnectTcp, 0}},
    Version{5, {kControlDevice, 0, 0}},
    Version{6, {0, 0, kAbstractSockets | kSignals}},
};

RulesetAttributes taken_away(long version) {
    RulesetAttributes all;
    for (const auto& [number, adds] : kVersions) {
        if (number <= version) {
            all.files |= adds.files;
            all.network |= adds.network;
            all.scoped |= adds.scoped;
        }
    }
    return all;
}

struct Exception {
    const char* path;
    int kind; // O_DIRECTORY or 0
    std::uint64_t rights;
};

std::unexpected<std::string> failure(const char* what) {
    return std::unexpected(fmt::format("could not {} with Landlock: {}", what, std::strerror(errno)));
}

} // namespace

std::expected<Landlock, std::string> restrict_files_to(const std::string& directory) {
    const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kAskForVersion);
    if (version < 0) {
        if (errno == ENOSYS || errno == EOPNOTSUPP) {
            return Landlock::KernelHasNone;
        }
        return failure("ask for its version");
    }
    const auto attributes = taken_away(version);
    const Fd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
    if (!ruleset.valid()) {
        return failure("make rules");
    }
    const std::array exceptions = {
        // Set aside as damaged is a rename within it; SQLite syncs the directory by opening it
        Exception{directory.c_str(), O_DIRECTORY, kReadFile | kWriteFile | kTruncate | kReadDirectory | kRemoveFile | kMakeFile},
        Exception{"/dev/urandom", 0, kReadFile}, // SQLite's first random number
    };
    for (const auto& [path, kind, rights] : exceptions) {
        const Fd opened(::open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC | kind));
        if (!opened.valid()) {
            continue;
        }
        const PathBeneath rule{rights & attributes.files, opened.get()};
        if (::syscall(SYS_landlock_add_rule, ruleset.get(), kRulePathBeneath, &rule, 0) != 0) {
            return failure("make an exception");
        }
    }
    if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
        return failure("restrict this process");
    }
    return Landlock::On;
}

} // namespace joblet::api
