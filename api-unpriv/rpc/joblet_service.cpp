#include "api-unpriv/rpc/joblet_service.h"

#include "api-unpriv/rpc/answer.h"
#include "api-unpriv/version.h"

namespace joblet::api {

namespace {

class JobletServer final : public rpc::Joblet::Server {
  public:
    explicit JobletServer(kj::Own<SessionContext> session)
        : session_(kj::mv(session)), volumes_(make_volume_service(kj::addRef(*session_))), jobs_(make_job_service(kj::addRef(*session_))),
          host_(make_host_service(kj::addRef(*session_))) {}

  protected:
    kj::Promise<void> version(VersionContext context) override {
        auto version = context.getResults().initVersion();
        version.setSoftware(kSoftwareVersion);
        version.setInterfaceVersion(rpc::INTERFACE_VERSION);
        version.setUid(session_->caller.uid);
        version.setAdmin(session_->caller.admin);
        return kj::READY_NOW;
    }
    kj::Promise<void> volumes(VolumesContext context) override {
        context.getResults().setService(volumes_);
        return kj::READY_NOW;
    }
    kj::Promise<void> jobs(JobsContext context) override {
        context.getResults().setService(jobs_);
        return kj::READY_NOW;
    }
    kj::Promise<void> host(HostContext context) override {
        context.getResults().setService(host_);
        return kj::READY_NOW;
    }

  private:
    kj::Own<SessionContext> session_;
    // One of each, so that asking a million times costs the client's time only
    rpc::VolumeService::Client volumes_;
    rpc::JobService::Client jobs_;
    rpc::HostService::Client host_;
};

} // namespace

capnp::Capability::Client make_joblet_service(kj::Own<SessionContext> session) {
    return kj::heap<JobletServer>(kj::mv(session));
}

} // namespace joblet::api
