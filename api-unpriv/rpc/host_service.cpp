#include "api-unpriv/rpc/answer.h"
#include "api-unpriv/rpc/joblet_service.h"

namespace joblet::api {

namespace {

class HostServer final : public rpc::HostService::Server {
  public:
    explicit HostServer(kj::Own<SessionContext> session) : session_(kj::mv(session)) {}

  protected:
    kj::Promise<void> listBases(ListBasesContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context, [&]() { return session_->managers.bases.list(); },
            [](auto result, const std::vector<Base>& known) {
                auto bases = result.initValue().initBases(static_cast<unsigned>(known.size()));
                for (unsigned i = 0; i < bases.size(); ++i) {
                    bases[i].setName(text(known[i].name));
                    bases[i].setProc(known[i].proc == protocol::ProcKind::Masked ? "masked" : "pids"); // as the schema says
                    bases[i].setUsable(known[i].usable);
                }
            });
    }
    kj::Promise<void> doctor(DoctorContext context) override {
        return refuse(context, unimplemented("the report on this host"));
    }

  private:
    kj::Own<SessionContext> session_;
};

} // namespace

rpc::HostService::Client make_host_service(kj::Own<SessionContext> session) {
    return kj::heap<HostServer>(kj::mv(session));
}

} // namespace joblet::api
