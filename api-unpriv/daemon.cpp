#include "api-unpriv/daemon.h"

#include <fmt/format.h>

#include "api-unpriv/rpc/session.h"
#include "shared/log.h"

namespace joblet::api {

Daemon::Daemon(kj::AsyncIoContext& io, int broker, StoreWriter& store, const ApiConfig& config, Landlock landlock)
    : io_(io), timer_(io.provider->getTimer()), config_(config), broker_(io.unixEventPort, broker, *this), volumes_(broker_, store),
      bases_(broker_), doctor_(broker_, volumes_.index(), landlock), jobs_(broker_, store, volumes_, bases_, timer_, config),
      sessions_(*this) {
    volumes_.set_holders([this](const VolumeId& volume) { return jobs_.holding(volume); });
}

kj::Promise<void> Daemon::run(std::vector<Volume> stored_volumes, std::vector<Job> remembered_jobs) {
    auto broker_gone = broker_.run();
    auto served = load(std::move(stored_volumes), std::move(remembered_jobs)).then([]() -> kj::Promise<void> { return kj::NEVER_DONE; });
    return broker_gone.exclusiveJoin(kj::mv(served));
}

kj::Promise<void> Daemon::load(std::vector<Volume> stored_volumes, std::vector<Job> remembered_jobs) {
    return volumes_.load(timer_, std::move(stored_volumes))
        .then([this]() { return bases_.load(timer_); })
        .then([this, jobs = std::move(remembered_jobs)]() mutable { return jobs_.load(std::move(jobs)); })
        .then([this]() {
            loaded_ = true;
            log::info("serving");
            for (auto& visitor : std::exchange(early_, {})) {
                serve(std::move(visitor));
            }
        });
}

void Daemon::on_connection(const protocol::Connection& connection, Fd socket) {
    Visitor visitor{connection, std::move(socket)};
    if (loaded_) {
        serve(std::move(visitor));
    } else {
        early_.push_back(std::move(visitor)); // the broker bounds how many
    }
}

void Daemon::serve(Visitor visitor) {
    sessions_.add(Session::serve(io_, std::move(visitor.socket), visitor.connection, {volumes_, jobs_, bases_, doctor_}, config_)
                      .then([this, number = visitor.connection.number]() {
                          protocol::CloseConnection request;
                          request.header.connection = number;
                          return broker_.request(request).ignoreResult();
                      }));
}

void Daemon::on_volume_changed(const protocol::VolumeChanged& news) {
    volumes_.changed(news.volume, std::span(news.labels).first(news.volume.labels_size));
}
void Daemon::on_volume_gone(const VolumeId& id) {
    volumes_.gone(id);
}
void Daemon::on_job_changed(const protocol::JobEntry& job) {
    jobs_.changed(job);
}

void Daemon::taskFailed(kj::Exception&& exception) {
    log::warning(fmt::format("a session ended badly: {}", exception.getDescription().cStr()));
}

} // namespace joblet::api
