#include "api-unpriv/host/report.h"

#include <algorithm>
#include <array>
#include <span>

#include <fmt/format.h>

#include "shared/size.h"

namespace joblet::api {

namespace {

using protocol::Difference;
using protocol::DifferenceKind;

enum class About : std::uint8_t { Volume, Job, Nothing };

struct Row {
    DifferenceKind kind;
    About about;
    std::string_view sentence; // {0}: the volume or job, {1}: there, {2}: expected, {3} and {4}: the same as sizes
};
constexpr std::array kRows = {
    Row{DifferenceKind::UnknownVolume, About::Volume, "the store has {0}, and no record of it was read"},
    Row{DifferenceKind::MissingVolume, About::Volume, "the directory of {0} is gone from the store"},
    Row{DifferenceKind::DamagedVolume, About::Volume, "what the record of {0} promises is not in its directory"},
    Row{DifferenceKind::HeldByNobody, About::Volume, "the kernel has {0} attached, and no job has it"},
    Row{DifferenceKind::UnknownTrash, About::Volume, "the trash has {0}, and no record of it was read"},
    Row{DifferenceKind::LeftInStaging, About::Volume, "{0} was left in staging, half made"},
    Row{DifferenceKind::QuotaWithoutVolume, About::Nothing, "the kernel has a quota for project {1}, and no volume has that project"},
    Row{DifferenceKind::QuotaDiffers, About::Volume, "the kernel holds {0} to {3} ({1} bytes), and its record says {4} ({2} bytes)"},
    Row{DifferenceKind::ProjectDiffers, About::Volume, "the directory of {0} has project {1}, and its record says {2}"},
    Row{DifferenceKind::GroupWithoutJob, About::Job, "the cgroup of {0} is there, and the job is not"},
    Row{DifferenceKind::JobWithoutGroup, About::Job, "{0} is alive, and its cgroup is gone"},
    Row{DifferenceKind::UnknownRunningJob, About::Job, "/run/joblet/jobs has a record of {0}, which is not known"},
    Row{DifferenceKind::UnknownEndedJob, About::Job, "/opt/joblet/jobs has a directory of {0}, which is not known"},
    Row{DifferenceKind::SharedSlot, About::Job, "{0} is in slot {1}, in which another job lives"},
    Row{DifferenceKind::NotMounted, About::Volume, "a running job has {0}, as its record says, and it is not mounted there"},
};
static_assert(kRows.size() == protocol::kDifferenceKindCount - 1);
static_assert([] {
    for (std::size_t i = 0; i < kRows.size(); ++i) {
        if (static_cast<std::size_t>(kRows[i].kind) != i + 1) {
            return false;
        }
    }
    return true;
}());

std::string subject_of(const Difference& difference, About about, const VolumeIndex& volumes) {
    if (about == About::Job) {
        return fmt::format("job {}", to_string(JobId{difference.id}));
    }
    const VolumeId id{difference.id};
    const Volume* known = volumes.find(id);
    return known != nullptr ? fmt::format("volume {} (\"{}\" of uid {})", to_string(id), known->entry.name.view(), known->entry.owner_uid)
                            : fmt::format("volume {}", to_string(id));
}

} // namespace

std::string sentence_of(const Difference& difference, const VolumeIndex& volumes) {
    const auto& row = kRows.at(static_cast<std::size_t>(difference.kind) - 1); // every kind that decodes has one
    return fmt::format(fmt::runtime(row.sentence), subject_of(difference, row.about, volumes), difference.there, difference.expected,
                       format_size(difference.there), format_size(difference.expected));
}

Report report_of(const protocol::HostFacts& facts, const VolumeIndex& volumes) {
    Report report;
    report.checks = checks_of(facts);
    report.compared = (facts.flags & protocol::kHostSurveyed) != 0;
    report.more_differences = (facts.reply.flags & protocol::kReplyMore) != 0;
    report.slot_first = facts.slot_first;
    report.slot_count = facts.slot_count;
    report.audit_records = facts.audit_records;
    for (const auto& difference : std::span(facts.differences).first(facts.reply.count)) {
        report.differences.push_back(sentence_of(difference, volumes));
    }
    return report;
}

} // namespace joblet::api
