#include "broker-root/broker/audit.h"

#include <cstring>

#include <fmt/format.h>

#include "shared/log.h"

namespace joblet::broker {

kernel::Result<std::uint64_t> Audit::write(const AuditFields& fields, std::size_t to_come) {
    if (sync_failure_ != 0) {
        return std::unexpected(sync_failure_);
    }
    auto written = log_.reserve(to_come);
    const auto number = written ? log_.append(fields) : std::unexpected(written.error());
    const int code = number ? 0 : number.error();
    if (code != failure_) {
        log::error(code == 0 ? std::string("audit records can be written again")
                             : fmt::format("no audit record can be written, and without one nothing is done: {}", std::strerror(code)));
        failure_ = code;
    }
    if (!number) {
        return number;
    }
    if (log_.unsigned_records() >= settings_.sign_records) {
        sign();
    } else if (!signature_is_due_) {
        signature_is_due_ = true;
        loop_.after(settings_.sign_after, [this] {
            signature_is_due_ = false;
            sign();
        });
    }
    if (!settings_.sync_each && !sync_is_due_) {
        sync_is_due_ = true;
        loop_.after(settings_.sync_after, [this] {
            sync_is_due_ = false;
            synchronize();
        });
    }
    return number;
}

void Audit::sign() {
    if (const auto made = log_.sign(); !made) {
        log::error(fmt::format("the audit log cannot be signed: {}", std::strerror(made.error())));
    }
}

Detached Audit::synchronize() {
    if (is_syncing_) {
        co_return;
    }
    is_syncing_ = true;
    const std::uint64_t record = log_.last();
    int code = 0;
    const auto before = log_.put_aside();
    for (const Fd& file : before) {
        const int synced = co_await sync_(file);
        code = code != 0 ? code : synced;
    }
    const int synced = co_await sync_(log_.file());
    code = code != 0 ? code : synced;
    is_syncing_ = false;
    if (code == 0) {
        synced_ = record;
    } else {
        log::error(fmt::format("the audit log does not come to the disk, and nothing is done until the daemons were started anew: {}",
                               std::strerror(code)));
        sync_failure_ = code;
        failure_ = code;
    }
    const Gate now = synced_now_;
    synced_now_ = Gate(loop_);
    now.open();
}

Task<int> Audit::on_disk(std::uint64_t record) {
    while (settings_.sync_each && sync_failure_ == 0 && synced_ < record) {
        const Gate now = synced_now_;
        synchronize(); // unless one is under way already, which may have begun before this record
        co_await now;
    }
    co_return sync_failure_;
}

Task<kernel::Result<std::uint64_t>> Audit::before(AuditFields fields) {
    // Room for this one, a signature, and the second one of each operation
    const auto number = write(fields, under_way_ + 3);
    if (!number) {
        co_return number;
    }
    if (const int code = co_await on_disk(*number); code != 0) {
        co_return std::unexpected(code);
    }
    ++under_way_;
    co_return number;
}

Task<bool> Audit::after(std::uint64_t begun, AuditFields fields) {
    --under_way_;
    fields.add("begin", begun);
    const auto number = write(fields, 0);
    if (!number) {
        co_return false;
    }
    co_return co_await on_disk(*number) == 0;
}

bool Audit::happened(const AuditFields& fields) {
    return write(fields, under_way_ + 3).has_value();
}

void Audit::stop() {
    (void)log_.append(AuditFields("stop"));
    sign();
}

} // namespace joblet::broker
