// A broker for tests: a thread with a table, at the other end of the boundary.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "shared/datagram.h"
#include "shared/fd.h"
#include "shared/protocol_messages.h"

namespace joblet::api::test {

// Answers requests as a broker would, as far as the tests look. Requests are decoded strictly: whatever the daemon sends
// wrongly fails the test. Of changes of volumes it sends no news: the daemon must ask.
class FakeBroker {
  public:
    explicit FakeBroker(Fd socket) : socket_(std::move(socket)), thread_([this]() { work(); }) {}
    FakeBroker(const FakeBroker&) = delete;
    FakeBroker& operator=(const FakeBroker&) = delete;
    ~FakeBroker();

    // A client's end of a connection that the daemon gets.
    Fd connect(std::uint32_t uid, bool admin);
    protocol::VolumeEntry add_volume(std::uint32_t owner, std::string_view name, std::string_view labels = {});
    protocol::VolumeEntry add_trashed(std::uint32_t owner, std::string_view name);
    // A job that is running, with these volumes.
    JobId add_job(std::uint32_t owner, const std::vector<VolumeId>& volumes);
    void end_job(JobId id, int code);
    void end_job(JobId id, ExitRecord exit); // with the times and the magic filled in
    void send_garbage();
    void hang_up();

    // A job writes: what the volume holds from now on.
    void use(const VolumeId& id, std::uint64_t bytes, std::uint64_t inodes);
    void quarantine(const VolumeId& id);
    // How a host is that a report is asked for; differences are for admins alone.
    void set_host(const protocol::HostFacts& facts);
    // While on, measurements are begun and not answered.
    void hold_measurements(bool on);
    std::size_t held_measurements();

    // The next request of a user is answered with it, whatever it is.
    void refuse_next(protocol::Reply reply);
    // What users asked for, oldest first.
    template <class Request> std::vector<Request> asked() {
        const std::lock_guard lock(mutex_);
        std::vector<Request> out;
        for (const auto& request : requests_) {
            if (const auto* one = std::get_if<Request>(&request)) {
                out.push_back(*one);
            }
        }
        return out;
    }
    // Requests about single volumes that nobody but the daemon asked for.
    std::atomic<int> stats = 0;
    // Channels that no job was started with.
    std::size_t channels();

    std::atomic<int> faults = 0;
    std::atomic<int> closed_connections = 0;
    std::atomic<int> signals = 0;
    std::atomic<std::uint32_t> last_authority = 99;
    std::atomic<int> next_answer = 0;  // an ErrorCode for the next CreateVolume
    std::atomic<int> next_release = 0; // likewise for ReleaseJob
    std::atomic<int> released = 0;     // jobs
    std::atomic<int> lists_of_bases = 0;
    std::atomic<bool> host_network = false; // allowed
    std::atomic<bool> has_quota = true;     // the store has project quotas
    std::atomic<bool> grows_online = false; // images that a job has
    std::atomic<std::uint32_t> controllers = protocol::kControllersAll;

    // Of the last StartJob
    Fd control;
    Fd spec;
    protocol::StartJob start;

  private:
    struct Stored {
        protocol::VolumeEntry entry;
        std::string labels;
        std::uint64_t used_bytes = 0;
        std::uint64_t used_inodes = 0;
    };

    template <class Message> void send(const Message& message, std::span<const int> descriptors = {}) {
        if (!send_message(socket_.get(), message, descriptors, Wait::Yes) && errno != EPIPE) {
            ++faults;
        }
    }
    template <class Request> static protocol::Reply reply_to(const Request& request) {
        protocol::Reply reply;
        reply.request = Request::kType;
        reply.sequence = request.header.sequence;
        return reply;
    }
    template <class Request> void refuse(const Request& request, ErrorCode code) {
        auto reply = reply_to(request);
        reply.code = code;
        send(reply);
    }
    bool may(const protocol::RequestHeader& header, std::uint32_t owner, protocol::Authority authority);
    Stored* find(const protocol::RequestHeader& header, const VolumeId& id, protocol::Authority authority);
    Stored* holder_of(std::uint32_t owner, const NameText& name);
    std::optional<JobId> job_with(const VolumeId& id) const;
    void change_job(protocol::JobEntry& job, const std::vector<VolumeId>& volumes);
    // Of a job that is about to start. A refusal's code is not Ok.
    protocol::Reply plan_limits(const protocol::StartJob& r, protocol::JobLimits& limits) const;
    protocol::Usage usage_of(const Stored& volume) const;
    void give_measure(const protocol::MeasureVolume& r);

    void work();
    void handle(const protocol::CreateVolume& r);
    void handle(const protocol::DeleteVolume& r);
    void handle(const protocol::StatVolume& r);
    void handle(const protocol::ListVolumes& r);
    void handle(const protocol::StartJob& r);
    void handle(const protocol::SignalJob& r);
    void handle(const protocol::ListJobs& r);
    void handle(const protocol::ReleaseJob& r);
    void handle(const protocol::CloseConnection& r);
    void handle(const protocol::RestoreVolume& r);
    void handle(const protocol::ProtectVolume& r);
    void handle(const protocol::LabelVolume& r);
    void handle(const protocol::RenameVolume& r);
    void handle(const protocol::AttachVolume& r);
    void handle(const protocol::DetachVolume& r);
    void handle(const protocol::AdminRead& r);
    void handle(const protocol::OpenLog& r);
    void handle(const protocol::ListBases& r);
    void handle(const protocol::ResizeVolume& r);
    void handle(const protocol::MeasureVolume& r);
    void handle(const protocol::HostReport& r);
    void handle(const protocol::CreateChannel& r);

    Fd socket_;
    std::uint64_t connections_ = 100;
    std::mutex mutex_; // guards what follows
    std::map<VolumeId, Stored> volumes_;
    std::map<JobId, protocol::JobEntry> jobs_;
    std::set<JobId> logs_; // of jobs that have one
    struct Channel {
        protocol::ConnectionNumber connection = 0;
        Fd control;
        Fd spec;
    };
    std::map<std::uint64_t, Channel> channels_;
    std::map<protocol::ConnectionNumber, std::uint32_t> uids_;
    std::set<protocol::ConnectionNumber> admins_;
    std::vector<protocol::Request> requests_;
    std::optional<protocol::Reply> refusal_;
    protocol::HostFacts host_;
    bool holds_measurements_ = false;
    std::vector<protocol::MeasureVolume> held_;
    std::thread thread_; // last: it uses the rest
};

} // namespace joblet::api::test
