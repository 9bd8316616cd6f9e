#include "broker-root/broker/channels.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "shared/job_spec.h"

namespace joblet::broker {

namespace {

constexpr std::size_t kDescriptors = 2; // that stay here

} // namespace

ReplyWithFiles Channels::make(std::uint64_t number, std::uint64_t replaces) {
    if (closer_->is_full()) {
        return {refusal(ErrorCode::Unavailable), {}}; // what is replaced would have to wait, too, without end
    }
    channels_.erase(replaces);
    if (channels_.size() >= protocol::kChannelsMax) {
        return {limit_refusal(protocol::LimitKind::ChannelsPerConnection, protocol::kChannelsMax, channels_.size(), 1), {}};
    }
    if (!budget_->has(kDescriptors)) {
        return {refusal(Failure{ErrorCode::Unavailable, Step::ReadJobSpec, EMFILE}), {}};
    }
    std::array<int, 2> ends{-1, -1};
    const int failed = ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0 ? errno : 0;
    Fd jobs(ends[0]);
    Fd users(ends[1]);
    Fd spec = failed == 0 ? make_spec_memory() : Fd();
    Fd writable(spec.valid() ? ::fcntl(spec.get(), F_DUPFD_CLOEXEC, 0) : -1);
    if (!writable.valid()) {
        return {refusal(Failure{ErrorCode::Unavailable, Step::ReadJobSpec, failed != 0 ? failed : errno}), {}};
    }
    ReplyWithFiles out;
    out.files.resize(protocol::kChannelDescriptors);
    out.files[protocol::kUsersEnd] = std::move(users);
    out.files[protocol::kSpecMemory] = std::move(writable);
    channels_.emplace(number, Channel{ClientEnd(*closer_, std::move(jobs)), std::move(spec), budget_->take(kDescriptors)});
    return out;
}

std::optional<Channel> Channels::take(std::uint64_t number) {
    auto node = channels_.extract(number);
    return node.empty() ? std::nullopt : std::optional(std::move(node.mapped()));
}

} // namespace joblet::broker
