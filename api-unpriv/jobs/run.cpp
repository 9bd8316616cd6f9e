// The start of a job, or what it would be.
#include <algorithm>
#include <ctime>

#include <fmt/format.h>

#include "api-unpriv/jobs/manager.h"

namespace joblet::api {

namespace {

std::int64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

} // namespace

Outcome<void> JobManager::reserve_name(const Caller& caller, const NewJob& wanted) {
    if (wanted.name.empty()) {
        return {};
    }
    if (!is_valid_name(wanted.name)) {
        return std::unexpected(invalid("name", "the name of the job is not valid", fmt::format("a name is {}", kNameForms)));
    }
    const std::pair<std::uint32_t, std::string> name{caller.uid, wanted.name};
    if (table_.find(caller.uid, wanted.name) != nullptr || names_being_started_.contains(name)) {
        return std::unexpected(Refusal{
            {ErrorCode::Conflict, fmt::format("there is a job \"{}\" already", wanted.name), "remove it, or choose another name"}, {}});
    }
    if (!wanted.options.dry_run) {
        names_being_started_.insert(name);
    }
    return {};
}

kj::Promise<Outcome<std::shared_ptr<Channel>>> JobManager::open_channel(const Caller& caller, UnusedChannels unused) {
    protocol::CreateChannel request;
    request.header.connection = caller.connection;
    if (!unused->empty()) {
        request.replaces = unused->back();
        unused->pop_back();
    }
    // Also if nobody waits for it any more: it is the connection's next unused one then
    auto opened = broker_.request_all(request)
                      .then([unused = std::move(unused), replaces = request.replaces](Answer answer) -> Outcome<std::shared_ptr<Channel>> {
                          const protocol::Reply& reply = reply_of(answer.message);
                          if (reply.code != ErrorCode::Ok) {
                              if (replaces != 0) {
                                  unused->push_back(replaces);
                              }
                              return std::unexpected(refusal_from(reply, {"start a job", {}, {}}));
                          }
                          return std::make_shared<Channel>(reply.sequence, std::move(answer.descriptors.at(protocol::kUsersEnd)),
                                                           std::move(answer.descriptors.at(protocol::kSpecMemory)), unused);
                      })
                      .fork();
    tasks_.add(opened.addBranch().ignoreResult());
    return opened.addBranch();
}

kj::Promise<Outcome<Started>> JobManager::run(const Caller& caller, NewJob wanted) {
    const auto refuse = [](Refusal refusal) { return Outcome<Started>(std::unexpected(std::move(refusal))); };
    Start start;
    Job& job = start.job;
    job.owner_uid = caller.uid;
    job.name = wanted.name;
    job.command = kept_command(wanted.command);
    job.base = wanted.base.empty() ? std::string(kDefaultBase) : wanted.base;
    job.host_name = wanted.host_name;
    job.detached = wanted.options.detached;
    job.remove_at_end = wanted.options.remove_at_end;
    auto volumes = volumes_.prepare_volumes(caller, wanted.volumes);
    if (!volumes) {
        return refuse(volumes.error());
    }
    job.volumes = std::move(*volumes);
    auto request = start_request(job.base, job.host_name, job.volumes, wanted.options);
    if (!request) {
        return refuse(request.error());
    }
    JobSpec spec{std::move(wanted.command), environment_of(wanted.host_name, wanted.environment),
                 wanted.working_directory.empty() ? std::string(kDefaultDirectory) : std::move(wanted.working_directory)};
    const auto encoded = encode_job_spec(spec);
    if (!encoded) {
        return refuse(invalid("command", encoded.error()));
    }
    if (wanted.channel && write_spec_memory(wanted.channel->memory(), *encoded) != 0) {
        return refuse(unavailable());
    }
    if (auto reserved = reserve_name(caller, wanted); !reserved) {
        return refuse(reserved.error());
    }
    start.options = wanted.options;
    if (wanted.options.dry_run) {
        start.spec = std::move(spec);
    }

    request->header.connection = caller.connection;
    request->channel = wanted.channel ? wanted.channel->use() : 0;
    auto started =
        broker_.request(*request)
            .then([this, start = std::move(start), channel = std::move(wanted.channel)](const protocol::Message& message) mutable {
                if (channel && reply_of(message).code == ErrorCode::Unavailable) {
                    channel->put_back();
                }
                return this->started(std::move(start), message);
            })
            .fork();
    tasks_.add(started.addBranch().ignoreResult());
    return started.addBranch();
}

Outcome<Started> JobManager::started(Start start, const protocol::Message& message) {
    Job& job = start.job;
    const auto* world = std::get_if<protocol::JobWorld>(&message);
    if (start.options.dry_run) {
        if (world == nullptr) {
            return std::unexpected(start_refusal(job, reply_of(message)));
        }
        job.limits = world->limits;
        PlannedWorld would = world_of(*world, job, start.options, std::move(start.spec), volumes_.index());
        return Started{std::move(job), std::move(would)};
    }
    names_being_started_.erase({job.owner_uid, job.name});
    if (world == nullptr) {
        return std::unexpected(start_refusal(job, reply_of(message)));
    }
    job.id = world->reply.job;
    job.limits = world->limits;
    // The news of its start, or even of its end, may have come before
    if (const Job* known = table_.find(job.id)) {
        job.state = known->state;
        job.started_ns = known->started_ns;
        job.exit = known->exit;
        job.limits = known->limits.controllers != 0 ? known->limits : job.limits;
    } else {
        job.started_ns = now_ns();
    }
    return Started{record(std::move(job)), std::nullopt};
}

Refusal JobManager::start_refusal(const Job& job, const protocol::Reply& reply) const {
    if (reply.code == ErrorCode::NotFound && reply.volume.is_none()) {
        return no_such_base(job.base, bases_.usable());
    }
    if (reply.code == ErrorCode::Unsupported && reply.step == Step::BuildTemplate) {
        return base_refused(job.base, bases_.usable());
    }
    const auto named = std::ranges::find(job.volumes, reply.volume, &UsedVolume::id);
    const std::string volume = named != job.volumes.end() ? named->name : std::string();
    Subject subject{"start the job", volume, volume};
    if (reply.code == ErrorCode::InUse) {
        subject.jobs = table_.holding(reply.volume);
    }
    return refusal_from(reply, subject);
}

} // namespace joblet::api
