#include <fcntl.h>

#include <array>

#include "api-unpriv/jobs/request.h"
#include "api-unpriv/rpc/answer.h"
#include "api-unpriv/rpc/joblet_service.h"

namespace joblet::api {

namespace {

constexpr std::int64_t kGraceDefault = 10; // seconds
constexpr std::uint64_t kGraceMaxNs = 3600ULL * 1'000'000'000;

bool asks_for(rpc::ResourceLimits::Reader limits) {
    const auto io = limits.getIo();
    return limits.getMemoryBytes() != 0 || limits.getSwapBytes() != 0 || limits.getProcesses() != 0 || limits.getCpuMilli() != 0 ||
           io.getReadBytes() != 0 || io.getWriteBytes() != 0 || io.getReadOperations() != 0 || io.getWriteOperations() != 0;
}

// What a request may ask for and this version cannot do: never ignored.
Outcome<void> check_built(rpc::RunRequest::Reader request) {
    struct Row {
        bool asked;
        std::string_view what;
    };
    const std::array rows = {
        Row{request.getDetached() || request.getRemoveAfterwards() || request.getLogMaxBytes() != 0, "a detached job"},
        Row{request.getTerminal(), "a terminal of the job's own"},
        Row{request.getUser() != 0 || request.getGroup() != 0, "choosing the user inside a job"},
        Row{request.getTimeoutNs() != 0, "a timeout of a job"},
        Row{request.getNetwork() != rpc::RunRequest::Network::NONE, "a job with the host's network"},
        Row{request.getReadOnlyWork(), "a read-only /work"},
        Row{request.getWorkBytes() != 0, "choosing the size of /work"},
        Row{request.getTmpBytes() != 0, "choosing the size of /tmp"},
        Row{request.getDryRun(), "a dry run"},
        Row{asks_for(request.getLimits()), "a resource limit of a job"},
    };
    for (const auto& row : rows) {
        if (row.asked) {
            return std::unexpected(unimplemented(row.what));
        }
    }
    return {};
}

std::vector<std::string> texts_from(capnp::List<capnp::Text>::Reader texts) {
    std::vector<std::string> out;
    out.reserve(texts.size());
    for (const auto one : texts) {
        out.emplace_back(view(one));
    }
    return out;
}

Outcome<NewJob> new_job_from(rpc::RunRequest::Reader request) {
    if (auto built = check_built(request); !built) {
        return std::unexpected(built.error());
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

struct Selected {
    std::string job;
    Scope scope;
};
Outcome<Selected> selected(rpc::JobSelector::Reader selector) {
    const auto scope = scope_from(selector.getScope());
    if (!scope) {
        return std::unexpected(scope.error());
    }
    return Selected{std::string(view(selector.getJob())), *scope};
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

// A copy of the descriptor attached to `control`, so that the client's capability may go.
kj::Promise<Outcome<Fd>> control_from(rpc::RunRequest::Reader request) {
    if (!request.hasControl()) {
        return Outcome<Fd>(std::unexpected(invalid("control", "a job needs a control socket")));
    }
    auto client = request.getControl();
    auto known = client.getFd();
    return known
        .then([](kj::Maybe<int> given) -> Outcome<Fd> {
            KJ_IF_MAYBE (fd, given) {
                Fd copy(::fcntl(*fd, F_DUPFD_CLOEXEC, 0));
                if (!copy.valid()) {
                    return std::unexpected(unavailable());
                }
                return copy;
            }
            return std::unexpected(invalid("control", "no descriptor came with the control capability"));
        })
        .attach(kj::mv(client));
}

class JobServer final : public rpc::JobService::Server {
  public:
    explicit JobServer(kj::Own<SessionContext> session) : session_(kj::mv(session)) {}

  protected:
    kj::Promise<void> run(RunContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<Job>> {
                auto wanted = new_job_from(context.getParams().getRequest());
                if (!wanted) {
                    return Outcome<Job>(std::unexpected(wanted.error()));
                }
                auto control = control_from(context.getParams().getRequest());
                context.releaseParams();
                return control.then([session = kj::addRef(*session_),
                                     wanted = std::move(*wanted)](Outcome<Fd>&& given) mutable -> kj::Promise<Outcome<Job>> {
                    if (!given) {
                        return Outcome<Job>(std::unexpected(given.error()));
                    }
                    wanted.control = std::move(*given);
                    return session->managers.jobs.run(session->caller, std::move(wanted));
                });
            },
            [](auto result, const Job& job) { fill(result.initValue().initJob(), job); });
    }

    kj::Promise<void> listJobs(ListJobsContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> Outcome<JobPage> {
                auto query = query_from(context.getParams());
                if (!query) {
                    return std::unexpected(query.error());
                }
                return session_->managers.jobs.list(session_->caller, std::move(*query));
            },
            [](auto result, const JobPage& page) {
                auto value = result.initValue();
                auto jobs = value.initJobs(static_cast<unsigned>(page.jobs.size()));
                for (unsigned i = 0; i < jobs.size(); ++i) {
                    fill(jobs[i], *page.jobs[i]);
                }
                value.setNext(text(page.next));
                value.setMatching(page.matching);
            });
    }

    kj::Promise<void> getJob(GetJobContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> Outcome<const Job*> {
                const auto wanted = selected(context.getParams().getSelector());
                if (!wanted) {
                    return std::unexpected(wanted.error());
                }
                return session_->managers.jobs.get(session_->caller, wanted->job, wanted->scope);
            },
            [](auto result, const Job* job) { fill(result.initValue(), *job); });
    }

    kj::Promise<void> wait(WaitContext context) override {
        return about<Job>(context, Ticket::Kind::Wait, [](SessionContext& session, const Selected& wanted) {
            return session.managers.jobs.wait(session.caller, wanted.job, wanted.scope);
        });
    }

    kj::Promise<void> signal(SignalContext context) override {
        return about<void>(context, Ticket::Kind::Call,
                           [signal = context.getParams().getSignal()](SessionContext& session, const Selected& wanted) {
                               return session.managers.jobs.signal(session.caller, wanted.job, wanted.scope, signal);
                           });
    }

    kj::Promise<void> stop(StopContext context) override {
        const std::uint64_t asked = context.getParams().getGraceNs();
        if (asked > kGraceMaxNs) {
            return refuse(context, invalid("graceNs", "the grace is longer than one hour"));
        }
        const auto grace = asked == 0 ? kGraceDefault * kj::SECONDS : static_cast<std::int64_t>(asked) * kj::NANOSECONDS;
        return about<Job>(context, Ticket::Kind::Wait, [grace](SessionContext& session, const Selected& wanted) {
            return session.managers.jobs.stop(session.caller, wanted.job, wanted.scope, grace);
        });
    }

    kj::Promise<void> remove(RemoveContext context) override {
        return about<void>(context, Ticket::Kind::Call, [](SessionContext& session, const Selected& wanted) {
            return session.managers.jobs.remove(session.caller, wanted.job, wanted.scope);
        });
    }

    kj::Promise<void> prune(PruneContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<std::vector<JobId>>> {
                const auto scope = scope_from(context.getParams().getScope());
                if (!scope) {
                    return Outcome<std::vector<JobId>>(std::unexpected(scope.error()));
                }
                return session_->managers.jobs.prune(session_->caller, *scope);
            },
            [](auto result, const std::vector<JobId>& ids) {
                auto jobs = result.initValue().initJobs(static_cast<unsigned>(ids.size()));
                for (unsigned i = 0; i < jobs.size(); ++i) {
                    jobs.set(i, text(to_string(ids[i])));
                }
            });
    }

    kj::Promise<void> logs(LogsContext context) override {
        return refuse(context, unimplemented("the log of a job"));
    }
    kj::Promise<void> attach(AttachContext context) override {
        return refuse(context, unimplemented("attaching to a job"));
    }
    kj::Promise<void> resizeTerminal(ResizeTerminalContext context) override {
        return refuse(context, unimplemented("a terminal of the job's own"));
    }

  private:
    // What is asked about one job and answered by it, or by nothing.
    template <class T, class Context, class Ask> kj::Promise<void> about(Context context, Ticket::Kind kind, Ask ask) {
        const auto body = [&]() -> kj::Promise<Outcome<T>> {
            const auto wanted = selected(context.getParams().getSelector());
            context.releaseParams(); // a wait may be long, and descriptors may hang on the message
            if (!wanted) {
                return Outcome<T>(std::unexpected(wanted.error()));
            }
            return ask(*session_, *wanted);
        };
        if constexpr (std::is_void_v<T>) {
            return answer(*session_, kind, context, body, [](auto result) { result.initValue(); });
        } else {
            return answer(*session_, kind, context, body, [](auto result, const Job& job) { fill(result.initValue(), job); });
        }
    }

    kj::Own<SessionContext> session_;
};

} // namespace

rpc::JobService::Client make_job_service(kj::Own<SessionContext> session) {
    return kj::heap<JobServer>(kj::mv(session));
}

} // namespace joblet::api
