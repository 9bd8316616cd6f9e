#include "api-unpriv/rpc/answer.h"
#include "api-unpriv/rpc/joblet_service.h"

namespace joblet::api {

namespace {

void fill(rpc::HostService::Report::Builder out, const Report& report) {
    auto checks = out.initChecks(static_cast<unsigned>(report.checks.size()));
    for (unsigned i = 0; i < checks.size(); ++i) {
        const HostCheck& check = report.checks[i];
        checks[i].setSubject(text(check.subject));
        checks[i].setOk(check.ok);
        checks[i].setDetail(text(check.detail));
        checks[i].setLost(text(check.lost));
        checks[i].setRemedy(text(check.remedy));
    }
    auto differences = out.initDifferences(static_cast<unsigned>(report.differences.size()));
    for (unsigned i = 0; i < differences.size(); ++i) {
        differences.set(i, text(report.differences[i]));
    }
    out.setCompared(report.compared);
    out.setMoreDifferences(report.more_differences);
    out.setSlotFirst(report.slot_first);
    out.setSlotCount(report.slot_count);
    out.setAuditRecords(report.audit_records);
}

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
        return answer(
            *session_, Ticket::Kind::Call, context, [&]() { return session_->managers.doctor.examine(session_->caller); },
            [](auto result, const Report& report) { fill(result.initValue(), report); });
    }

  private:
    kj::Own<SessionContext> session_;
};

} // namespace

rpc::HostService::Client make_host_service(kj::Own<SessionContext> session) {
    return kj::heap<HostServer>(kj::mv(session));
}

} // namespace joblet::api
