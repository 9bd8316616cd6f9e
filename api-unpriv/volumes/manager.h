// What users do with volumes: checks what they ask for, asks the broker, keeps the index true.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <kj/async.h>

#include "api-unpriv/broker_client.h"
#include "api-unpriv/caller.h"
#include "api-unpriv/errors.h"
#include "api-unpriv/jobs/job.h"
#include "api-unpriv/store/writer.h"
#include "api-unpriv/volumes/index.h"

namespace joblet::api {

struct NewVolume {
    std::string name;
    std::uint64_t size_bytes = 0;
    std::uint64_t inodes = 0; // 0: the backend's default
    protocol::VolumeType type = protocol::VolumeType::Filesystem;
    protocol::Backend backend = protocol::Backend::Auto;
    Labels labels;
};
struct CreatedVolume {
    Volume volume;
    bool existed = false;
};

// A volume of the caller's, as asked for in a job.
struct WantedVolume {
    std::string volume; // name, id or the beginning of one
    std::string target; // empty: only at /volumes/<name>
    bool read_only = false;
};

class VolumeManager {
  public:
    VolumeManager(BrokerClient& broker, StoreWriter& store) : broker_(broker), store_(store) {}

    kj::Promise<Outcome<CreatedVolume>> create(const Caller& caller, NewVolume wanted);
    [[nodiscard]] Outcome<const Volume*> get(const Caller& caller, std::string_view selector, Scope scope) const;
    // The scope in the query is what was asked for; pointers are valid until the next turn of the event loop.
    [[nodiscard]] Outcome<VolumePage> list(const Caller& caller, VolumeQuery query) const;
    kj::Promise<Outcome<void>> remove(const Caller& caller, std::string_view selector, Scope scope);

    // The volumes of a job about to be started, each checked: own, not twice, targets free. Whether they are free to use is
    // the broker's to decide.
    [[nodiscard]] Outcome<std::vector<UsedVolume>> prepare_volumes(const Caller& caller, std::span<const WantedVolume> wanted) const;
    // After a job's end: asks the broker again about whatever still seems to be in use by it.
    kj::Promise<void> cleanup_volumes(JobId job, const std::vector<UsedVolume>& used);

    // What the broker said.
    void changed(const protocol::VolumeEntry& entry, std::span<const std::uint8_t> labels);
    void gone(const VolumeId& id);

    // At start: every volume the broker has, then whatever differs from `stored` is written. Resolves when the index is complete.
    kj::Promise<void> load(kj::Timer& timer, std::vector<Volume> stored);

    [[nodiscard]] const VolumeIndex& index() const {
        return index_;
    }

  private:
    kj::Promise<void> load_page(kj::Timer& timer, VolumeId after);
    // Asks the broker about one volume. False if it did not say.
    kj::Promise<bool> refresh(VolumeId id);
    [[nodiscard]] Refusal conflict(const NewVolume& wanted, const protocol::Reply& reply) const;

    BrokerClient& broker_;
    StoreWriter& store_;
    VolumeIndex index_;
    bool loading_ = false; // the store is written when all is known
};

} // namespace joblet::api
