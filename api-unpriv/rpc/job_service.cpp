#include "api-unpriv/rpc/answer.h"
#include "api-unpriv/rpc/job_request.h"
#include "api-unpriv/rpc/joblet_service.h"

namespace joblet::api {

namespace {

constexpr std::int64_t kGraceDefault = 10; // seconds
constexpr std::uint64_t kGraceMaxNs = 3600ULL * 1'000'000'000;

// A log on its way to a client, and as long as he has it.
struct GivenLog {
    JobLog log;
    kj::Own<HeldLog> held;
};

class DescriptorServer final : public rpc::Descriptor::Server {
  public:
    DescriptorServer(Fd fd, kj::Own<HeldLog> held) : fd_(std::move(fd)), held_(kj::mv(held)) {}
    kj::Maybe<int> getFd() override {
        return fd_.get();
    }

  private:
    Fd fd_;
    kj::Own<HeldLog> held_;
};

// The client's end of a control socket.
class ControlEnd final : public rpc::Descriptor::Server {
  public:
    explicit ControlEnd(kj::Own<HeldControl> held) : held_(kj::mv(held)) {}
    kj::Maybe<int> getFd() override {
        return held_->channel->users_end();
    }

  private:
    kj::Own<HeldControl> held_;
};

class JobServer final : public rpc::JobService::Server {
  public:
    explicit JobServer(kj::Own<SessionContext> session) : session_(kj::mv(session)) {}

  protected:
    kj::Promise<void> run(RunContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<Started>> {
                auto wanted = new_job_from(context.getParams().getRequest());
                if (!wanted) {
                    return Outcome<Started>(std::unexpected(wanted.error()));
                }
                auto channel = channel_from(*session_, context.getParams().getRequest());
                context.releaseParams();
                return channel.then([session = kj::addRef(*session_), wanted = std::move(*wanted)](
                                        Outcome<std::shared_ptr<Channel>> given) mutable -> kj::Promise<Outcome<Started>> {
                    if (!given) {
                        return Outcome<Started>(std::unexpected(given.error()));
                    }
                    wanted.channel = std::move(*given);
                    return session->managers.jobs.run(session->caller, std::move(wanted));
                });
            },
            [](auto result, const Started& started) {
                auto value = result.initValue();
                fill(value.initJob(), started.job);
                if (started.world) {
                    fill(value.initWorld(), *started.world);
                }
            });
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
                const auto wanted = selected_job(context.getParams().getSelector());
                if (!wanted) {
                    return std::unexpected(wanted.error());
                }
                return session_->managers.jobs.get(session_->caller, wanted->job, wanted->scope);
            },
            [](auto result, const Job* job) { fill(result.initValue(), *job); });
    }

    kj::Promise<void> wait(WaitContext context) override {
        return about<Job>(context, Ticket::Kind::Wait, [](SessionContext& session, const SelectedJob& wanted) {
            return session.managers.jobs.wait(session.caller, wanted.job, wanted.scope);
        });
    }

    kj::Promise<void> signal(SignalContext context) override {
        return about<void>(context, Ticket::Kind::Call,
                           [signal = context.getParams().getSignal()](SessionContext& session, const SelectedJob& wanted) {
                               return session.managers.jobs.signal(session.caller, wanted.job, wanted.scope, signal);
                           });
    }

    kj::Promise<void> stop(StopContext context) override {
        const std::uint64_t asked = context.getParams().getGraceNs();
        if (asked > kGraceMaxNs) {
            return refuse(context, invalid("graceNs", "the grace is longer than one hour"));
        }
        const auto grace = asked == 0 ? kGraceDefault * kj::SECONDS : static_cast<std::int64_t>(asked) * kj::NANOSECONDS;
        return about<Job>(context, Ticket::Kind::Wait, [grace](SessionContext& session, const SelectedJob& wanted) {
            return session.managers.jobs.stop(session.caller, wanted.job, wanted.scope, grace);
        });
    }

    kj::Promise<void> remove(RemoveContext context) override {
        return about<void>(context, Ticket::Kind::Call, [](SessionContext& session, const SelectedJob& wanted) {
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
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<GivenLog>> {
                const auto wanted = selected_job(context.getParams().getSelector());
                if (!wanted) {
                    return Outcome<GivenLog>(std::unexpected(wanted.error()));
                }
                auto held = HeldLog::take(*session_);
                if (!held) {
                    return Outcome<GivenLog>(std::unexpected(held.error()));
                }
                return session_->managers.jobs.logs(session_->caller, wanted->job, wanted->scope)
                    .then([held = kj::mv(*held)](Outcome<JobLog> log) mutable -> Outcome<GivenLog> {
                        if (!log) {
                            return std::unexpected(log.error());
                        }
                        return GivenLog{std::move(*log), kj::mv(held)};
                    });
            },
            [](auto result, GivenLog& given) {
                auto value = result.initValue();
                value.setFirst(kj::heap<DescriptorServer>(std::move(given.log.first), kj::addRef(*given.held)));
                value.setSecond(kj::heap<DescriptorServer>(std::move(given.log.second), kj::mv(given.held)));
            });
    }

    kj::Promise<void> openControl(OpenControlContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context, [&]() { return HeldControl::open(*session_); },
            [this](auto result, kj::Own<HeldControl>& held) {
                auto value = result.initValue();
                value.setControl(session_->given_controls.add(kj::heap<GivenControl>(kj::addRef(*held))));
                value.setEnd(kj::heap<ControlEnd>(kj::mv(held)));
            });
    }

  private:
    // What is asked about one job and answered by it, or by nothing.
    template <class T, class Context, class Ask> kj::Promise<void> about(Context context, Ticket::Kind kind, Ask ask) {
        const auto body = [&]() -> kj::Promise<Outcome<T>> {
            const auto wanted = selected_job(context.getParams().getSelector());
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
