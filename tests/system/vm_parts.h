// What the tests that want Debian's own kernel (tests/vm) have in common.
#pragma once

#include <cstdint>
#include <string>

#include "tests/system/installation.h"

namespace joblet::testing {

inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

// With --enable-controllers. XFS does not like less than 300 MiB.
Installation::Options vm_options(StoreMount::Kind kind, const std::string& broker_toml = {}, const std::string& where = "320M");
// XFS, or ext4 where JOBLET_TEST_STORE says so.
StoreMount::Kind quota_kind();

// Whether the kernel holds, or counts, what was asked: the volume's own two directories and what lists a file's blocks come on top.
bool is_about(std::uint64_t bytes, std::uint64_t asked);
bool is_about_inodes(std::uint64_t inodes, std::uint64_t asked);

bool says(const Outcome& outcome, std::string_view word);
std::string id_of(const Installation& here, const std::string& name, uid_t uid = 0);
// The only element of `rnx volume usage NAME`.
json usage_of(const Installation& here, const std::string& name, uid_t uid = 0);
std::uint64_t size_of(const Installation& here, const std::string& name);

// What the kernel has for a project: lsattr(1) and repquota(8) say so, nothing of ours.
std::uint32_t project_of(const Installation& here, const std::string& volume_id);
struct QuotaRow {
    std::uint64_t used_kib = 0;
    std::uint64_t soft_kib = 0;
    std::uint64_t hard_kib = 0;
    std::uint64_t used_inodes = 0;
    std::uint64_t hard_inodes = 0;
};
// All zero if there is none.
QuotaRow quota_row(const Installation& here, std::uint32_t project);

json doctor(const Installation& here);
bool check_ok(const json& report, const std::string& subject);
// Ids of jobs that run now; exactly one must.
std::string only_job(const Installation& here);
std::string group_file(const Installation& here, const std::string& job, const std::string& file);

// The guest (tests/guest), put into the volume `tools`.
void bring_guest(const Installation& here, uid_t uid);

} // namespace joblet::testing
