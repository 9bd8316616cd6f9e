// What holds a volume's bytes. One file per backend; the store knows nothing else about them.
#pragma once

#include <cstdint>

#include "broker-root/kernel/result.h"
#include "broker-root/worker/failure.h"
#include "broker-root/worker/orders.h"
#include "shared/fd.h"

namespace joblet::worker {

struct Attachment {
    protocol::Access access{};
    std::uint32_t slot_first = 0; // host uid of the job's 0
    int user_namespace = -1;      // V of the slot: maps the foreign range to it
};

// `directory` is that of one volume, open for reading: root's, 0700, holding record and labels besides.
class Backend {
  public:
    Backend() = default;
    Backend(const Backend&) = delete;
    Backend& operator=(const Backend&) = delete;
    Backend(Backend&&) = delete;
    Backend& operator=(Backend&&) = delete;
    virtual ~Backend() = default;

    // In staging. What a system job has to work on before complete(), if anything, as a descriptor open for writing.
    [[nodiscard]] virtual Outcome<Fd> create(int directory, const VolumeRecord& record, std::uint32_t slot_first) const = 0;
    // Still in staging, when that is done: after it the volume is usable, has the size asked for, and its bytes are on disk.
    [[nodiscard]] virtual Outcome<void> complete(int directory, const VolumeRecord& record) const = 0;
    // Whether what the record promises is there; looks at names, types and sizes only.
    [[nodiscard]] virtual bool is_intact(int directory, const VolumeRecord& record) const = 0;
    // A detached mount for a job: idmapped, nosuid, nodev, read-only if asked.
    [[nodiscard]] virtual Outcome<Fd> open(int directory, const VolumeRecord& record, const Attachment& attachment) const = 0;
    // While the descriptor is open nothing can be attached; EWOULDBLOCK if it is attached, whoever did it.
    [[nodiscard]] virtual kernel::Result<Fd> claim(int directory) const = 0;
    // What is used of it. mounted: the volume's root in a job that has it, or -1; nothing is walked.
    [[nodiscard]] virtual Outcome<protocol::Usage> measure(int directory, const VolumeRecord& record, int mounted) const = 0;
    // The limit from now on, checked against what is used; on failure it is as it was. LimitExceeded says that `used` is beyond it.
    // mounted: as for measure.
    [[nodiscard]] virtual Outcome<void> resize(int directory, const VolumeRecord& before, const VolumeRecord& after, int mounted) const = 0;
    // Of a volume in trash or staging. Not an error if there is nothing.
    [[nodiscard]] virtual Outcome<void> remove(int directory) const = 0;
};

} // namespace joblet::worker
