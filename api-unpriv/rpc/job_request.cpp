#include "api-unpriv/rpc/job_request.h"

#include "api-unpriv/rpc/answer.h"
#include "api-unpriv/rpc/limits.h"
#include "shared/job_spec.h"

namespace joblet::api {

namespace {

std::vector<std::string> texts_from(capnp::List<capnp::Text>::Reader texts) {
    std::vector<std::string> out;
    out.reserve(texts.size());
    for (const auto one : texts) {
        out.emplace_back(view(one));
    }
    return out;
}

Outcome<JobOptions> options_from(rpc::RunRequest::Reader request) {
    JobOptions options;
    options.user = request.getUser();
    options.group = request.getGroup();
    options.timeout_ns = request.getTimeoutNs();
    options.work_bytes = request.getWorkBytes();
    options.tmp_bytes = request.getTmpBytes();
    options.log_bytes = request.getLogMaxBytes();
    options.limits = limits_from(request.getLimits());
    options.detached = request.getDetached();
    options.read_only_work = request.getReadOnlyWork();
    options.remove_at_end = request.getRemoveAfterwards();
    options.dry_run = request.getDryRun();
    switch (request.getNetwork()) {
    case rpc::RunRequest::Network::NONE:
        break;
    case rpc::RunRequest::Network::HOST:
        options.host_network = true;
        break;
    default:
        return std::unexpected(unimplemented("this kind of network"));
    }
    return options;
}

} // namespace

Outcome<NewJob> new_job_from(rpc::RunRequest::Reader request) {
    auto options = options_from(request);
    if (!options) {
        return std::unexpected(options.error());
    }
    const auto command = request.getCommand();
    const auto environment = request.getEnvironment();
    if (command.size() > kJobArgumentsMax || environment.size() > kJobEnvironmentMax) {
        return std::unexpected(invalid("command", "there are more than 16384 arguments or environment variables"));
    }
    const auto volumes = request.getVolumes();
    if (volumes.size() > protocol::kJobVolumesMax) {
        return std::unexpected(invalid("volumes", "a job has at most 16 volumes"));
    }
    NewJob job;
    job.options = *options;
    job.command = texts_from(command);
    job.environment = texts_from(environment);
    job.working_directory = view(request.getWorkingDirectory());
    job.base = view(request.getBase());
    job.host_name = view(request.getHostName());
    job.name = view(request.getName());
    for (const auto volume : volumes) {
        job.volumes.push_back({std::string(view(volume.getVolume())), std::string(view(volume.getTarget())), volume.getReadOnly()});
    }
    return job;
}

Outcome<SelectedJob> selected_job(rpc::JobSelector::Reader selector) {
    const auto scope = scope_from(selector.getScope());
    if (!scope) {
        return std::unexpected(scope.error());
    }
    return SelectedJob{std::string(view(selector.getJob())), *scope};
}

Outcome<JobQuery> query_from(rpc::JobService::ListJobsParams::Reader params) {
    JobQuery query;
    const auto scope = scope_from(params.getScope());
    if (!scope) {
        return std::unexpected(scope.error());
    }
    query.scope = *scope;
    switch (params.getState()) {
    case rpc::JobState::ANY:
        break;
    case rpc::JobState::STARTING:
        query.state = protocol::JobState::Starting;
        break;
    case rpc::JobState::RUNNING:
        query.state = protocol::JobState::Running;
        break;
    case rpc::JobState::ENDED:
        query.state = protocol::JobState::Ended;
        break;
    default:
        return std::unexpected(invalid("state", "this state is not known", "starting, running and ended are accepted"));
    }
    query.name_prefix = view(params.getNamePrefix());
    query.page_size = page_size_from(params.getPage());
    query.after = view(params.getPage().getAfter());
    return query;
}

kj::Promise<Outcome<std::shared_ptr<Channel>>> channel_from(SessionContext& session, rpc::RunRequest::Reader request) {
    using Given = Outcome<std::shared_ptr<Channel>>;
    if (request.getDetached() && request.hasControl()) {
        return Given(std::unexpected(invalid("control", "a detached job has no control socket", "leave out one of the two")));
    }
    if (request.getDryRun()) {
        return Given();
    }
    if (request.getDetached()) {
        return session.managers.jobs.open_channel(session.caller, session.unused_channels);
    }
    if (!request.hasControl()) {
        return Given(std::unexpected(invalid("control", "a job needs a control socket", "ask for one with openControl")));
    }
    auto client = request.getControl();
    auto known = session.given_controls.getLocalServer(client);
    return known
        .then([](const kj::Maybe<rpc::ControlSocket::Server&>& given) -> Given {
            KJ_IF_MAYBE (one, given) {
                if (auto channel = kj::downcast<GivenControl>(*one).take()) {
                    return channel;
                }
                return std::unexpected(invalid("control", "the control socket was given to another run", "ask for one for each"));
            }
            return std::unexpected(invalid("control", "the control socket is not what openControl gave on this connection"));
        })
        .attach(kj::mv(client));
}

} // namespace joblet::api
