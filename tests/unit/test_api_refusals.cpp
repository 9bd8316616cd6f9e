// What a refusal of the broker is in words.
#include <doctest/doctest.h>

#include <cerrno>
#include <string>

#include "api-unpriv/errors.h"

using namespace joblet;
using namespace joblet::api;
using protocol::LimitKind;
using protocol::Reply;

namespace {

Reply reply_of(ErrorCode code, Step step = Step::None, int sys_errno = 0) {
    Reply reply;
    reply.request = protocol::RequestType::StartJob;
    reply.sequence = 1;
    reply.code = code;
    reply.step = step;
    reply.sys_errno = sys_errno;
    return reply;
}
std::string hint_of(Step step, int sys_errno) {
    return refusal_from(reply_of(ErrorCode::Unsupported, step, sys_errno), {"do it", "data", "data"}).error.hint;
}
bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("every limit has its name in broker.toml and amounts in its unit") {
    for (auto kind = static_cast<std::uint32_t>(LimitKind::VolumeSize);
         kind <= static_cast<std::uint32_t>(LimitKind::ChannelsPerConnection); ++kind) {
        CAPTURE(kind);
        Reply reply = reply_of(ErrorCode::LimitExceeded);
        reply.which = kind;
        reply.limit = 1500;
        reply.used = 2;
        reply.asked = 2500;
        const auto refusal = refusal_from(reply, {"do it", {}, {}});
        REQUIRE_FALSE(refusal.fields.empty());
        CHECK(refusal.fields.front().first == "limit_name");
        CHECK_FALSE(refusal.fields.front().second.empty());
        CHECK_FALSE(contains(refusal.error.message, "a limit of this host"));
    }
    const auto message = [](LimitKind kind) {
        Reply reply = reply_of(ErrorCode::LimitExceeded);
        reply.which = static_cast<std::uint32_t>(kind);
        reply.limit = 1500;
        reply.asked = 2000;
        const auto refusal = refusal_from(reply, {"start the job", {}, {}});
        return refusal.fields.front().second + ": " + refusal.error.message;
    };
    CHECK(message(LimitKind::Cpus) ==
          "jobs.cpus_max: cannot start the job: the number of CPUs of a job is limited to 1.5; 0 used, 2 asked for");
    CHECK(message(LimitKind::Processes) ==
          "jobs.processes_max: cannot start the job: the number of processes of a job is limited to 1500; 0 used, 2000 asked for");
    CHECK(message(LimitKind::Memory) ==
          "jobs.memory_max: cannot start the job: the memory of a job is limited to 1.5 KiB; 0 B used, 2.0 KiB asked for");
}

TEST_CASE("what this host lacks is told by the step that failed, and how") {
    CHECK(contains(hint_of(Step::SetQuota, 0), "soft limits are held by the project-quota backend only"));
    CHECK(contains(hint_of(Step::SetQuota, ESRCH), "prjquota"));
    CHECK(contains(hint_of(Step::SetQuota, EOPNOTSUPP), "project,quota"));
    CHECK(contains(hint_of(Step::SetQuota, ENOSYS), "Linux 5.14"));
    CHECK(contains(hint_of(Step::LimitSubvolume, ENOTCONN), "btrfs quota enable"));
    CHECK(contains(hint_of(Step::LimitSubvolume, 0), "inodes"));
    CHECK(contains(hint_of(Step::MakeSubvolume, ENOTTY), "not on btrfs"));
    CHECK(contains(hint_of(Step::ResizeVolume, EPERM), "CAP_SYS_RESOURCE"));
    CHECK(contains(hint_of(Step::ResizeFilesystem, 0), "does not fit"));
    CHECK(contains(hint_of(Step::HoldLimit, 0), "was tried on this host"));
    CHECK(contains(hint_of(Step::FindDevices, ENODEV), "on disk"));
    CHECK(contains(hint_of(Step::FindDevices, 0), "rnx doctor"));
    CHECK(contains(hint_of(Step::MountProc, EINVAL), "rnx doctor")); // whatever it is, there is something to do
    for (const auto step : {Step::SetMemoryLimit, Step::SetProcessLimit, Step::SetCpuLimit, Step::SetIoLimit}) {
        CHECK(contains(hint_of(step, 0), "rnx doctor"));
        const auto missing = refusal_from(reply_of(ErrorCode::Unsupported, step), {"start the job", {}, {}});
        CHECK(contains(missing.error.message, "is not enabled for joblet"));
        // a kernel call that failed is told as what it is
        const auto failed = refusal_from(reply_of(ErrorCode::Internal, step, EIO), {"start the job", {}, {}});
        CHECK(contains(failed.error.message, "Input/output error"));
        CHECK_FALSE(contains(failed.error.message, "enabled"));
    }
}

TEST_CASE("what a volume holds already is told in bytes, or in inodes where those were asked for") {
    Reply reply = reply_of(ErrorCode::LimitExceeded);
    reply.request = protocol::RequestType::ResizeVolume;
    reply.which = static_cast<std::uint32_t>(LimitKind::VolumeUsage);
    reply.limit = reply.asked = 2048;
    reply.used = 4096;
    Subject subject{"resize it", "data", "data"};
    subject.inodes_asked = 100;
    CHECK(contains(refusal_from(reply, subject).error.message, "it holds 4.0 KiB already"));
    subject.inodes_asked = 2048;
    CHECK(contains(refusal_from(reply, subject).error.message, "it holds 4096 inodes already"));
}
