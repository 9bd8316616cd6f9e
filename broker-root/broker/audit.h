// What is on record: before each privileged operation that it is to be done, after it how it ended. Without the first there is no
// operation.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

#include "broker-root/broker/audit_log.h"
#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/task.h"

namespace joblet::broker {

class Audit {
  public:
    struct Settings {
        bool sync_each = false; // an operation is begun, and answered, when its record is on disk; otherwise it is there soon
        std::chrono::milliseconds sync_after{100};
        std::chrono::milliseconds sign_after{5000};
        std::uint64_t sign_records = 256;
    };
    // Brings the file to the disk, without blocking the loop: 0 or errno.
    using Sync = std::function<Task<int>(const Fd& file)>;

    Audit(EventLoop& loop, AuditLog log, Settings settings, Sync sync)
        : loop_(loop), log_(std::move(log)), settings_(settings), sync_(std::move(sync)), synced_now_(loop) {}

    // The number of the record, which the one after refers to. Otherwise errno: the operation must not be done.
    Task<kernel::Result<std::uint64_t>> before(AuditFields fields);
    Task<bool> after(std::uint64_t begun, AuditFields fields);
    // What happens without anybody's asking: one record. False: it could not be written.
    bool happened(const AuditFields& fields);
    // errno of what keeps records from being written; 0: nothing does.
    [[nodiscard]] int failure() const {
        return failure_;
    }
    [[nodiscard]] std::uint64_t last() const { // number of the last record
        return log_.last();
    }
    // The last word, signed.
    void stop();

  private:
    kernel::Result<std::uint64_t> write(const AuditFields& fields, std::size_t to_come);
    Task<int> on_disk(std::uint64_t record);
    Detached synchronize();
    void sign();

    EventLoop& loop_;
    AuditLog log_;
    Settings settings_;
    Sync sync_;
    int failure_ = 0;
    int sync_failure_ = 0;      // for good: what was lost then nobody knows
    std::size_t under_way_ = 0; // operations whose second record is to come
    bool is_syncing_ = false;
    bool sync_is_due_ = false;
    bool signature_is_due_ = false;
    std::uint64_t synced_ = 0;
    Gate synced_now_;
};

} // namespace joblet::broker
